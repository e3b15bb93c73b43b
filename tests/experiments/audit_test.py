"""Audits of real runs: by canaries, and by membership inference."""

import dataclasses
import json
import pathlib

import pytest

from experiments import audit
from tests import processes
from tff_cnn.evaluation import membership

FLAGS = (
    "--num_clients=20",
    "--sampling=full",
    "--rounds=3",
    "--eval_every=0",
    "--dp=fixed_clip",
    "--dp_noise_multiplier=2",
    "--dp_delta=1e-3",
)
# What is changed is put back: others run in this interpreter.
_PROGRAM = """
import dataclasses, pathlib, sys
from unittest import mock
from experiments import entry, flags, help, train
from tff_cnn import run as library
from tff_cnn.aggregators import gaussian
from tff_cnn.algorithms import canary_updates
from tff_cnn.training import canaries
from tff_cnn.training.run_folder import RunFolder

folder = pathlib.Path(sys.argv.pop(1))
train.define_flags()
entry.parse_flags(sys.argv, help.show)
config = flags.config_from_flags(sys.argv)

def run(name, **changes):
    changed = dataclasses.replace(config, **changes)
    with RunFolder(folder / name).held():
        library.execute(changed, RunFolder(folder / name))

# Resuming must lose nothing.
run("honest", rounds=1)
run("honest")
honest = gaussian.GaussianSumQuery
halved = lambda clip, stddev, seed: honest(clip, stddev / 2, seed)
with mock.patch.object(gaussian, "GaussianSumQuery", halved):
    run("halved")

# As if the code that adds canaries did not exist.
with (
    mock.patch.object(canary_updates, "add_canary", None),
    mock.patch.multiple(
        canaries, audited=None, CanaryHook=None, report=None
    ),
):
    run("off", rounds=1, dp=dataclasses.replace(config.dp, audit_canaries=0))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("audited")
    result = processes.call(
        "-c", _PROGRAM, folder, *FLAGS, "--audit_canaries=300"
    )
    assert result.returncode == 0, result.stderr
    return folder


def audit_of(run_dir: pathlib.Path) -> dict:
    return json.loads((run_dir / "summary.json").read_text())["audit"]


@pytest.mark.slow
def test_an_honest_run_is_estimated_near_what_the_accountant_says(runs):
    audit = audit_of(runs / "honest")
    low, high = audit["interval_final"]
    assert low < audit["accountant_epsilon"] < 1.2 * high
    assert not audit["exceeds_accountant"]
    assert (runs / "honest" / "canaries.f32").stat().st_size == 3 * 600 * 4


@pytest.mark.slow
def test_a_run_whose_noise_is_secretly_halved_is_caught(runs):
    audit = audit_of(runs / "halved")
    assert audit["exceeds_accountant"]
    assert audit["interval_final"][0] > 1.2 * audit["accountant_epsilon"]


@pytest.mark.slow
def test_canaries_off_reaches_no_code_of_theirs(runs):
    content = json.loads((runs / "off" / "summary.json").read_text())
    assert content["rounds"] == 1
    assert "audit" not in content
    assert not (runs / "off" / "canaries.f32").exists()


@pytest.mark.slow
def test_membership_inference_on_the_exported_model(runs):
    folder = runs / "honest"
    result = processes.call("experiments.audit", f"--run_dir={folder}")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for part in ("1,437 members, 360 others", "logistic", "at most"):
        assert part in result.stdout
    content = json.loads((folder / "audit.json").read_text())
    assert set(content["attacks"]) == set(membership.ATTACKS)
    epsilon = json.loads((folder / "summary.json").read_text())["epsilon"]
    assert content["bounds"]["presence"]["epsilon"] == epsilon
    assert content["bounds"]["exchange"]["epsilon"] == 2 * epsilon
    # So much noise leaves nothing to find.
    assert not content["exceeds_bound"]
    for found in content["attacks"].values():
        assert abs(found["auc"] - 0.5) < 0.1
    image = (folder / "membership_roc.png").read_bytes()
    assert image.startswith(b"\x89PNG") and len(image) > 20_000


LEAK = membership.Leak(0.9, (0.88, 0.92), 0.7, (0.68, 0.72), 0.73)
PRIVACY = {
    "epsilon": 1.0,
    "delta": 1e-3,
    "unit": "client",
    "neighbouring_relation": "add or remove one client",
}


def test_attacks_are_held_against_the_bound_of_an_exchange():
    def exceeds(privacy):
        return audit.describe({"loss": LEAK}, privacy, 10, 5)["exceeds_bound"]

    # Advantages of at most 0.46 for presence, 0.76 for an exchange.
    assert not exceeds(PRIVACY)
    # AUC of at most 0.88 for an exchange.
    leak = dataclasses.replace(LEAK, auc_interval=(0.95, 0.97))
    found = audit.describe({"loss": leak}, PRIVACY, 10, 5)
    assert found["exceeds_bound"]
    assert "MORE THAN EPSILON ALLOWS" in audit.render(found)
    assert exceeds({**PRIVACY, "epsilon": 0.5})
    # Neighbours that are exchanges already.
    assert exceeds({**PRIVACY, "neighbouring_relation": "replace one client"})
    assert not exceeds(None)


def test_a_run_without_a_guarantee_has_no_bound():
    found = audit.describe({"loss": LEAK}, None, 10, 5)
    assert found["bounds"] is None
    text = audit.render(found)
    assert "0.900 [0.880, 0.920]" in text
    assert "no bound" in text and "at most" not in text


@pytest.mark.parametrize(
    ("files", "part"),
    [
        ((), "holds no config.json"),
        (("config.json",), "has not ended"),
        (("config.json", "summary.json"), "holds no model.keras"),
    ],
)
def test_runs_that_cannot_be_attacked(tmp_path, files, part):
    contents = {
        "config.json": {"flags": {}},
        "summary.json": {
            "rounds": 1,
            "test_accuracy": 0.5,
            "stopped_by_epsilon": False,
            "is_private": False,
            "seconds_per_round": 0.1,
            "examples_per_second": 10,
            "clients_excluded": 0,
            "evaluated_on": "test",
            "privacy": {"guarantee": "", "stages": []},
            "num_parameters": 3,
            "weights_sha256": "",
            **dict.fromkeys(
                (
                    "test_loss",
                    "target_accuracy",
                    "rounds_to_target",
                    "epsilon",
                    "delta",
                    "noise_multiplier",
                )
            ),
        },
    }
    for name in files:
        (tmp_path / name).write_text(json.dumps(contents[name]))
    result = processes.call("experiments.audit", f"--run_dir={tmp_path}")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and part in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_missing_run_dir():
    result = processes.call("experiments.audit")
    assert result.returncode == 2
    assert "--run_dir is missing" in result.stderr
