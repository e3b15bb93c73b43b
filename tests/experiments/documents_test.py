"""What the documents show runs."""

import re
import shlex
import shutil
import subprocess

import pytest

from tests import processes
from tests.data.tfds_images_test import prepared  # noqa: F401 (a fixture)
from tests.experiments import building

_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)

# Trained; of all others what they resolve to is built.
_TRAINED = "experiments.train --num_clients=50 --partition=dirichlet"

# Run as a whole by the person who reads this, by CI, or by other tests.
_DRY_RUN = {"make train", "make test", "make lint", "make lock", "make clean"}
# Changes the lock or needs a network; tests/experiments/install_test.py and
# the headers of the locks cover what can be covered without. The benchmarks
# take minutes and have tests of their own that run them on little.
_NOT_RUN = (
    ".venv/bin/python -m experiments.benchmarks.",
    # As doctor_test.py does.
    ".venv/bin/python -m experiments.doctor",
    # privacy_test.py has a run to account for.
    ".venv/bin/python -m experiments.privacy account",
    # audit_test.py has one to attack.
    ".venv/bin/python -m experiments.audit",
    # evaluate_test.py has one to evaluate.
    ".venv/bin/python -m experiments.evaluate",
    # shrink_test.py has one to shrink.
    ".venv/bin/python -m experiments.shrink",
    # Writes into README.md; results_test.py runs it.
    ".venv/bin/python -m experiments.results",
    "bash .requirements/install.sh",
    ".requirements/compile.sh",
    "git clone",
    ".venv/bin/tensorboard",
)


# Of two labels.
_IMAGES = processes.ROOT / "tests/experiments/fixtures/sources/images"


def commands() -> list[str]:
    found = []
    for name in ("README.md", "BUILD_NOTES.md"):
        for block in _BLOCK.findall((processes.ROOT / name).read_text()):
            found += block.replace("\\\n", " ").strip().splitlines()
    return [c for c in found if not c.startswith("#")]


def own_images(folder, have_clients: bool) -> list[str]:
    """Flags of a run on images where the reader's would be."""
    clients = ["a", "b"] if have_clients else ["."]
    for client in clients:
        shutil.copytree(_IMAGES, folder / "images" / client, dirs_exist_ok=True)
    return [
        f"--data_dir={folder}/images",
        "--clients_per_round=1",
        *([] if have_clients else ["--num_clients=2"]),
    ]


# Program -> what makes it short, and writes to a folder.
_SHORT = {
    "experiments.attack_matrix": (
        "--rounds=1",
        "--attacks=none",
        "--aggregators=mean",
        "--dp=off",
        "--out={}/matrix",
    ),
    "experiments.leakage": (
        "--clients=1",
        "--cohort=2",
        "--steps=2",
        "--output={}/leakage.png",
    ),
}


def test_the_documents_show_commands():
    assert len(commands()) >= 7


@pytest.mark.slow
@pytest.mark.parametrize("command", dict.fromkeys(commands()))
def test_command_runs(command, tmp_path, prepared):  # noqa: F811
    if command.startswith(_NOT_RUN):
        script = shlex.split(command)[0 if command[0] == "." else 1]
        if script.startswith(".requirements"):
            assert (processes.ROOT / script).is_file()
        return
    if command in _DRY_RUN:
        subprocess.run(
            ["make", "-n", *shlex.split(command)[1:]],
            cwd=processes.ROOT,
            check=True,
            capture_output=True,
        )
        return
    arguments = shlex.split(command)
    if arguments[2:4] == ["experiments.privacy", "plan"]:
        result = processes.call(*arguments[2:], f"--plot={tmp_path}/plan.png")
        assert result.returncode == 0, result.stderr
        return
    if arguments[0] == "make":
        assert arguments[1] == "train"
        flags = shlex.split(arguments[2].removeprefix("ARGS="))
        flags.insert(0, "--flagfile=experiments/quickstart.flags")
    elif arguments[2] in _SHORT:
        given = [text.format(tmp_path) for text in _SHORT[arguments[2]]]
        result = processes.call(*arguments[2:], *given)
        assert result.returncode == 0, result.stderr
        return
    elif arguments[2] == "experiments.inspect_data":
        output = f"--output={tmp_path}/partition.png"
        result = processes.call(*arguments[2:], output)
        assert result.returncode == 0, result.stderr
        return
    else:
        assert arguments[:3] == [".venv/bin/python", "-m", "experiments.train"]
        flags = arguments[3:]
    if "--download" in command:
        flags += processes.tiny_mnist_flags(prepared[0])
    if "--data_dir=" in command:
        flags += own_images(tmp_path, "hospitals" in command)
    if "--help" not in flags:
        flags += ["--rounds=2", f"--run_dir={tmp_path}/run"]
    is_short = "--help" in flags or _TRAINED in flags
    run = processes.train if is_short else building.build
    result = run(*flags)
    assert result.returncode == 0, result.stderr


def test_one_of_the_commands_is_trained():
    assert sum(_TRAINED in command for command in commands()) == 1


def test_documents_name_no_file_that_is_not_there():
    for name in ("README.md", "BUILD_NOTES.md"):
        text = (processes.ROOT / name).read_text()
        for path in re.findall(
            r"`((?:tff_cnn|experiments|tests|\.requirements)/[\w./]*)`", text
        ):
            assert (processes.ROOT / path).exists(), f"{name}: {path}"
