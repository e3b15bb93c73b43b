"""Finished runs, looked at client by client."""

import csv
import json
import subprocess

import pytest

from tests import processes
from tff_cnn.training.diagnostics import NOT_PRIVATE
from tff_cnn.training.run_folder import RunFolder


@pytest.fixture
def run_dir(trained, tmp_path):
    """A copy of a private run that has a fifth of its clients set aside."""
    return trained(
        "--num_clients=20",
        "--clients_per_round=5",
        "--rounds=6",
        "--dp=blt",
        "--dp_noise_multiplier=2",
        "--evaluate_on=validation",
    ).copy(tmp_path / "run")


def evaluate(*arguments) -> subprocess.CompletedProcess:
    return processes.call("experiments.evaluate", *arguments)


@pytest.mark.slow
def test_a_finished_run_is_evaluated_on_who_was_never_trained_on(run_dir):
    before = (run_dir / "summary.json").read_bytes()
    (run_dir / "secret.key").unlink()  # As is advised of a run that has ended.
    result = evaluate(f"--run_dir={run_dir}")
    assert result.returncode == 0, result.stderr
    assert "unseen: clients that are never trained on" in result.stdout
    assert "epsilon does not cover this" in result.stdout
    assert "clients.csv, clients.png, evaluation.json" in result.stdout
    with open(run_dir / "clients.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["client"] for row in rows] == list("0123")
    assert {row["privacy"] for row in rows} == {NOT_PRIVATE}
    # Together they are what the run was evaluated on.
    sizes = [int(row["examples"]) for row in rows]
    correct = [
        float(row["accuracy"]) * size
        for row, size in zip(rows, sizes, strict=True)
    ]
    summary = json.loads(before)
    assert sum(correct) / sum(sizes) == pytest.approx(summary["test_accuracy"])
    content = json.loads((run_dir / "evaluation.json").read_text())
    assert content["privacy"] == NOT_PRIVATE and content["round"] == 6
    weighted = content["sets"]["unseen"]["accuracy"]["weighted"]
    assert weighted["mean"] == pytest.approx(summary["test_accuracy"])
    assert (run_dir / "summary.json").read_bytes() == before
    assert not (run_dir / "secret.key").exists()

    result = evaluate(f"--run_dir={run_dir}", "--set=holdout")
    assert result.returncode == 2
    assert "has no set 'holdout' of clients: train with --client_holdout" in (
        result.stderr
    )
    for path in RunFolder(run_dir).checkpoints.glob("*.npz"):
        path.unlink()
    result = evaluate(f"--run_dir={run_dir}")
    assert result.returncode == 2
    assert "no checkpoint of the run's last round, 6" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "--run_dir is missing"),
        (("--run_dir=/nowhere",), "holds no config.json of a run"),
        (("--run_dir=x", "--set=test"), "--set=test is no set of examples"),
        (
            ("--run_dir=x", "--personalize_epochs=1", "--personalize_steps=1"),
            "both say how long clients train",
        ),
        (
            ("--run_dir=x", "--personalize_steps=-1"),
            "--personalize_steps=-1 must be at least 0",
        ),
    ],
)
def test_mistakes_are_one_sentence(arguments, part):
    result = evaluate(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and part in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_run_that_has_not_ended(tmp_path):
    RunFolder(tmp_path).write_config({"flags": {}})
    result = evaluate(f"--run_dir={tmp_path}")
    assert result.returncode == 2
    assert "has not ended: the command that started it" in result.stderr
