"""One component of each kind from outside the package, used as any other.

Those of an algorithm, an aggregator and a source are the recipes of
BUILD_NOTES.md, the others are `tests.outside.made_up`.
"""

import json
import pathlib
import re
import subprocess

import numpy as np
import pytest

from tests import forked, processes

OUTSIDE = "tests.outside.made_up"
PUBLIC = (
    "--dataset=mine:Shades",
    "--num_images=240",
    f"--partition={OUTSIDE}:Striped",
    "--stripe_shift=3",
    "--num_clients=6",
    f"--model={OUTSIDE}:Linear",
    "--pool=4",
    "--algorithm=mine:Damped",
    "--part=0.75",
    f"--client_optimizer={OUTSIDE}:FixedAdagrad",
    "--client_start=0.2",
    f"--server_optimizer={OUTSIDE}:FixedAdagrad",
    "--aggregator=mine:ClippedMean",
    "--bound=2",
    f"--sampling={OUTSIDE}:Rotating",
    "--stride=2",
    "--clients_per_round=2",
    f"--runtime={OUTSIDE}:Told",
    "--saying=hello",
)
# The same, as objects.
OBJECTS = """
import mine
from tests.outside import made_up
from tff_cnn.config import RunConfig

CONFIG = RunConfig(
    dataset=mine.Shades(num_images=240),
    partition=made_up.Striped(stripe_shift=3),
    num_clients=6,
    model=made_up.Linear(pool=4),
    algorithm=mine.Damped(part=0.75),
    client_optimizer=made_up.FixedAdagrad(start=0.2),
    server_optimizer=made_up.FixedAdagrad,
    aggregator=mine.ClippedMean(bound=2),
    sampling=made_up.Rotating(stride=2),
    clients_per_round=2,
    runtime=made_up.Told(saying="hello"),
    rounds=1,
).resolved()
"""
TRAIN = """
import sys
import tff_cnn

tff_cnn.train(CONFIG, sys.argv[1])
"""
DESCRIBE = """
import json
from tff_cnn import identity

def changed(choice, **options):
    return CONFIG.with_options(choice, **options)

read = RunConfig.from_flat(CONFIG.flat())
print(json.dumps({
    "name": identity.run_name(CONFIG),
    "material": identity.material(CONFIG),
    "fingerprint": identity.fingerprint(CONFIG),
    "reads_back": read == CONFIG,
    "other_part": identity.fingerprint(changed("algorithm", part=0.5)),
    "other_saying": identity.fingerprint(changed("runtime", saying="oh")),
    "changes": identity.changes(changed("algorithm", part=0.5), CONFIG.flat()),
}))
"""
PRIVATE = (
    f"--dp={OUTSIDE}:Concentrated",
    "--dp_noise_multiplier=2",
    "--dp_reserve=1.25",
    f"--local_randomizer={OUTSIDE}:Thickened",
    "--local_update_noise_multiplier=3",
    "--local_update_thickness=1.5",
    f"--example_dp={OUTSIDE}:Frugal",
    "--example_noise_multiplier=2",
    "--example_gradient_share=0.25",
    "--num_clients=8",
    "--batch_size=180",
)


def recipes() -> list[str]:
    """The imports and the three blocks of code in BUILD_NOTES.md."""
    notes = (processes.ROOT / "BUILD_NOTES.md").read_text()
    _, section = notes.split("## Adding a component\n")
    section, _, _ = section.partition("\n## ")
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """The folder of a user who has followed the recipes."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text("\n\n".join(recipes()))
    return folder


def python(folder, *arguments) -> subprocess.CompletedProcess:
    """Runs a program in a folder, and in a process that knows no component.

    It has imported TensorFlow already, which takes most of the time.
    """
    program = forked.start(*arguments, cwd=folder)
    out, err = program.communicate(timeout=240)
    return subprocess.CompletedProcess(arguments, program.returncode, out, err)


def train(folder, *flags):
    return python(folder, "-m", "experiments.train", *flags)


def flags_of(run_dir: pathlib.Path) -> dict:
    return json.loads((run_dir / "config.json").read_text())["flags"]


def test_a_recipe_has_at_most_ten_lines_of_code():
    _, *blocks = recipes()
    assert len(blocks) == 3
    for block in blocks:
        assert len([line for line in block.splitlines() if line]) <= 10


@pytest.fixture(scope="module")
def begun(user, tmp_path_factory):
    """A run of a round with components that were given as objects."""
    run_dir = tmp_path_factory.mktemp("outside") / "run"
    result = python(user, "-c", OBJECTS + DESCRIBE + TRAIN, str(run_dir))
    assert result.returncode == 0, result.stderr
    return run_dir, result


def test_components_are_given_as_objects(begun):
    run_dir, result = begun
    assert "The runtime says hello." in result.stdout
    given = flags_of(run_dir)
    assert given["algorithm"] == "mine:Damped"
    assert given["part"] == 0.75
    assert given["aggregator"] == "mine:ClippedMean"
    assert given["bound"] == 2.0
    assert given["model"] == f"{OUTSIDE}:Linear"
    assert given["sampling"] == f"{OUTSIDE}:Rotating"
    assert given["client_start"] == 0.2
    assert given["server_start"] == 0.1
    assert given["saying"] == "hello"


def test_another_process_finds_them_by_their_classes_and_goes_on(user, begun):
    run_dir, _ = begun
    result = train(user, *PUBLIC, "--rounds=2", f"--run_dir={run_dir}")
    assert result.returncode == 0, result.stderr
    assert "Continuing after round 1" in result.stdout
    assert "The runtime says hello." in result.stdout
    rows = (run_dir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["round"] for row in rows] == [1, 2]


def test_names_fingerprints_and_files_follow(begun):
    _, result = begun
    found = json.loads(result.stdout.splitlines()[0])
    assert found["name"].startswith("shades-linear-damped-")
    assert found["reads_back"]
    assert found["material"]["part"] == 0.75
    assert found["material"]["algorithm"] == "mine:Damped"
    assert "saying" not in found["material"]
    assert found["other_part"] != found["fingerprint"]
    assert found["other_saying"] == found["fingerprint"]
    assert found["changes"] == ["<algorithm.part>=0.5 (was 0.75)"]


def test_a_file_that_names_them_is_read_where_they_are_not_imported(
    user,
):
    given = {"model": f"{OUTSIDE}:Linear", "pool": 4}
    read = f"""
from tff_cnn.config import RunConfig

print(RunConfig.from_flat({given}).model)
"""
    result = python(user, "-c", read)
    assert result.stdout == "Linear(pool=4)\n", result.stderr


def test_noise_and_what_accounts_for_it_come_from_outside(user):
    result = train(user, *PRIVATE, "--rounds=1")
    assert result.returncode == 0, result.stderr
    (run_dir,) = (user / "runs").iterdir()
    assert run_dir.name.startswith(
        "digits-digits_cnn-fedavg-concentrated-local_thickened-frugal_dp_sgd-"
    )
    given = flags_of(run_dir)
    assert given["dp_reserve"] == 1.25
    assert given["sampling"] == "full"
    assert given["client_weighting"] == "uniform"
    assert given["local_update_thickness"] == 1.5
    assert given["example_gradient_share"] == 0.25
    # Delta is as it was resolved when the run began.
    flags = (*PRIVATE, f"--run_dir={run_dir}")
    result = train(user, *flags, "--rounds=2")
    assert result.returncode == 0, result.stderr
    assert "Continuing after round 1" in result.stdout
    result = python(
        user,
        "-m",
        "experiments.privacy",
        "account",
        f"--run_dir={run_dir}",
    )
    assert result.returncode == 0, result.stderr
    assert "The run's summary says the same" in result.stdout
    central, randomizer, example = json.loads(
        (run_dir / "summary.json").read_text()
    )["privacy"]["stages"]
    # Of rho in two rounds, by Canonne, Kamath & Steinke 2020, Proposition 12.
    rho, delta = 2 * 1.25 / (2 * 2**2), central["delta"]
    orders = np.linspace(1.01, 50, 10_000)
    spent = rho * orders + np.log1p(-1 / orders)
    spent -= np.log(delta * orders) / (orders - 1)
    assert central["epsilon"] == pytest.approx(spent.min(), rel=1e-2)
    assert central["epsilon_pld"] is None
    assert randomizer["mechanism"]["name"] == "ThickenedGaussian"
    assert example["unit"] == "example"


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            [f"--model={OUTSIDE}:Linear", "--pool=9"],
            "--pool=9 must be at least 1 and at most 8.",
        ),
        (
            [f"--partition={OUTSIDE}:Striped", "--pool=2"],
            f"--pool=2 would be ignored: it needs --model={OUTSIDE}:Linear, "
            "but --model is 'digits_cnn'; remove one of the two.",
        ),
        (
            [f"--model={OUTSIDE}:linear"],
            f"--model={OUTSIDE}:linear cannot be imported (module "
            f"'{OUTSIDE}' has no attribute 'linear'): write module:Class, "
            "with the module where Python finds it.",
        ),
        (
            [f"--model={OUTSIDE}:Striped"],
            f"--model={OUTSIDE}:Striped is no model: register its options' "
            "class, as BUILD_NOTES.md shows.",
        ),
        (
            [
                f"--dp={OUTSIDE}:Concentrated",
                "--dp_epsilon=8",
                "--sampling=poisson",
            ],
            "--sampling=poisson does not fit --dp=concentrated: its event "
            "counts a client's rounds one by one; use "
            "--sampling=shuffled_epochs or full.",
        ),
        (
            [
                "--dp=fixed_clip",
                "--dp_epsilon=8",
                f"--sampling={OUTSIDE}:Rotating",
            ],
            "--sampling=rotating does not fit --dp=fixed_clip: the accountant "
            "has no rule for how its cohorts are drawn; use "
            "--sampling=poisson or fixed_size or shuffled_epochs or full.",
        ),
        (
            [
                "--dp=fixed_clip",
                "--dp_epsilon=8",
                f"--aggregator={OUTSIDE}:Unbuilt",
            ],
            "--aggregator=unbuilt does not fit --dp=fixed_clip: what one "
            "client moves is known of a sum of clipped updates; use "
            "--aggregator=mean or secure_sum or quantize or one_bit or "
            "top_k or random_k or rotate or low_rank or norm_bounding or "
            "zeroing.",
        ),
    ],
)
def test_mistakes_follow(user, flags, message):
    result = train(user, *flags)
    assert result.stderr.strip() == f"error: {message}"
    assert result.returncode == 2


def test_options_that_have_a_flag_of_others_are_refused(tmp_path):
    entry = """
import dataclasses
from tff_cnn.core.options import option
from tff_cnn.models import MODELS

@MODELS.entry("taken", "taken:build")
@dataclasses.dataclass(frozen=True)
class Taken:
    {name}: {kind} = option({default}, "Help.")
"""
    for name, kind, default, message in (
        (
            "rounds",
            "int",
            1,
            "taken:Taken and a run both have an option that is 'rounds' on the "
            "command line or in files: give one of them another name, or "
            "another flag.",
        ),
        (
            "resume",
            "bool",
            False,
            "model.resume has the flag --resume, which the program has for "
            "something else: give it another name, or another flag.",
        ),
    ):
        text = entry.format(name=name, kind=kind, default=default)
        (tmp_path / "taken.py").write_text(text)
        result = train(tmp_path, "--model=taken:Taken")
        assert result.stderr.strip() == f"error: {message}"
        assert result.returncode == 2


def test_help_follows(user):
    model = f"--model={OUTSIDE}:Linear"
    result = train(user, "--model", f"{OUTSIDE}:Linear", "--help")
    assert result.returncode == 0, result.stderr
    assert "    --pool=2 " in result.stdout
    # Only of what is chosen.
    assert "--stripe_shift" not in result.stdout
    result = train(user, model, "--help=linear")
    assert result.stdout.startswith(f"{model}\n  Softmax regression")
    assert "Pixels that become one." in result.stdout
    result = train(user, model, "--help=privacy")
    assert "--dp_reserve=1.5" in result.stdout
    assert "(--dp=concentrated)." in result.stdout.replace("\n" + " " * 34, " ")


def test_an_option_that_others_have_too_is_told_as_their_own(user):
    noise = f"--dp={OUTSIDE}:Concentrated"
    for topic in ("--help", "--help=concentrated"):
        text = " ".join(train(user, noise, topic).stdout.split())
        assert "--dp_clip_norm=0.7 Clip that has another default." in text
    text = train(user, noise, "--help=fixed_clip").stdout
    assert "--dp_clip_norm=0.3 " in text
    # What is not given is its own default as well, and so is the range.
    result = train(user, noise, "--dp_epsilon=1", "--dp_clip_norm=11")
    assert "--dp_clip_norm=11.0 must be positive: from 0.1 to 10" in (
        result.stderr
    )
