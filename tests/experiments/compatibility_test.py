"""A folder of the program before there were registries of options goes on.

The fixture is what commit 9fc2b2e left after two rounds of a run with two
stages of noise and a secret of its own; `expected` is what it wrote after four.
"""

import json
import pathlib
import shutil

import pytest

from tests import processes
from tests.experiments.train_test import rows

OLD = pathlib.Path(__file__).parent / "fixtures" / "run_of_9fc2b2e"
# As they were typed then; four of them have other names now.
FLAGS = (
    "--num_clients=20",
    "--clients_per_round=10",
    "--partition=dirichlet",
    "--dirichlet_alpha=0.7",
    "--batch_size=20",
    "--dp=adaptive_clip",
    "--dp_noise_multiplier=0.9",
    "--local_dp=dp_sgd",
    "--local_noise_multiplier=1.1",
    "--local_clip=0.8",
    "--server_momentum=0.5",
    "--seed=3",
)


def ledger(folder: pathlib.Path) -> list[dict]:
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def continued(folder: pathlib.Path, rounds: int) -> pathlib.Path:
    shutil.copytree(OLD, folder, ignore=shutil.ignore_patterns("expected"))
    (folder / "secret.key").chmod(0o600)
    result = processes.train(
        f"--run_dir={folder}", *FLAGS, f"--rounds={rounds}"
    )
    assert result.returncode == 0, result.stderr
    assert "--local_dp is now --example_dp" in result.stdout
    assert "Continuing after round 2" in result.stdout
    return folder


def is_same_arithmetic(folder: pathlib.Path) -> bool:
    """Whether this machine computes the first two rounds to the same bits."""
    shutil.copytree(OLD, folder, ignore=shutil.ignore_patterns("expected"))
    (folder / "secret.key").chmod(0o600)
    (folder / "checkpoints" / "round_000002.npz").unlink()
    result = processes.train(f"--run_dir={folder}", *FLAGS, "--rounds=2")
    assert result.returncode == 0, result.stderr
    return "cannot be computed again" not in result.stderr


def test_it_is_continued_bit_for_bit(tmp_path):
    run_dir = continued(tmp_path / "run", rounds=4)
    expected = rows(OLD / "expected")
    found = rows(run_dir)
    assert found[:2] == expected[:2]
    for row, other in zip(found, expected, strict=True):
        # Newer than the fixture; how long it took is no part of the result.
        row.pop("data_wait_seconds", None)
        assert row.pop("bytes_total", None) in (
            None,
            row["bytes_down"] + row["bytes_up"],
        )
        assert list(row) == list(other)
        for name in ("round", "cohort_size", "examples", "delta"):
            assert row[name] == other[name]
        for name in ("epsilon", "local_epsilon", "test_loss"):
            assert row[name] == pytest.approx(other[name], rel=1e-3)
    recorded = ledger(OLD / "expected")
    assert ledger(run_dir)[:3] == recorded[:3]
    if ledger(run_dir) != recorded:
        if is_same_arithmetic(tmp_path / "again"):
            assert ledger(run_dir) == recorded
        pytest.skip("this processor rounds otherwise than the fixture's")
    assert found == expected


def test_what_it_spent_is_still_known(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(OLD, folder, ignore=shutil.ignore_patterns("expected"))
    result = processes.run(
        "-m", "experiments.privacy", "account", f"--run_dir={folder}"
    )
    assert result.returncode == 0, result.stderr
    central, local = (
        float(line.split(":")[1].strip(" ,"))
        for line in result.stdout.splitlines()
        if line.startswith('  "epsilon":')
    )
    last = rows(OLD)[-1]
    assert central == pytest.approx(last["epsilon"], rel=1e-9)
    assert local == pytest.approx(last["local_epsilon"], rel=1e-9)


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--local_clip=0.7", "--example_clip_norm=0.7 (was 0.8)"),
        ("--dirichlet_alpha=0.6", "--dirichlet_alpha=0.6 (was 0.7)"),
        ("--client_momentum=0.1", "--client_momentum=0.1 (was None)"),
    ],
)
def test_other_settings_are_refused_in_todays_names(tmp_path, flag, told):
    folder = tmp_path / "run"
    shutil.copytree(OLD, folder, ignore=shutil.ignore_patterns("expected"))
    result = processes.train(f"--run_dir={folder}", *FLAGS, flag)
    assert result.returncode == 2
    assert told in result.stderr
