"""Real runs of the real binary: flagfiles, run folder, resuming."""

import json
import os
import pathlib
import signal

import numpy as np
import psutil
import pytest

from tests import forked, processes
from tests.data.tfds_images_test import prepared  # noqa: F401 (a fixture)
from tests.experiments import building
from tff_cnn.training.run_folder import RunFolder

FLAGFILES = sorted((processes.ROOT / "experiments").rglob("*.flags"))
# One of each kind, whose rounds differ: by mechanism, unit and sampling.
TRAINED = (
    "adaptive",
    "banded",
    "eps_0.87",
    "iid_e5",
    "quickstart",
    "scaffold",
)

TINY = (
    "--num_clients=20",
    "--clients_per_round=10",
    "--rounds=8",
    "--batch_size=10",
)
PRIVATE = (
    *TINY,
    "--dp=fixed_clip",
    "--dp_noise_multiplier=1",
    "--test_only_deterministic_noise",
)

# With noise that nobody knows, and once more.
REAL = tuple(flag for flag in PRIVATE if "deterministic" not in flag)
AGAIN = ("--checkpoint_every=2",)
# Two stages of privacy, and none.
RANDOMIZED = (
    *TINY,
    "--rounds=2",
    "--dp=fixed_clip",
    "--dp_noise_multiplier=3",
    "--local_randomizer=laplace",
    "--local_update_epsilon=20",
)
NOT_PRIVATE = (
    f"--flagfile={processes.ROOT}/experiments/quickstart.flags",
    "--dp=none",
    "--rounds=1",
)


def rows(run_dir: pathlib.Path) -> list[dict]:
    """Metrics rows without what no two runs have in common: seconds."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    result = [json.loads(line) for line in lines]
    for row in result:
        assert row.pop("seconds") > 0
        assert row.pop("data_wait_seconds", 0) >= 0  # Older runs have none.
    return result


def summary(run_dir: pathlib.Path) -> dict:
    result = json.loads((run_dir / "summary.json").read_text())
    for name in ("seconds_per_round", "examples_per_second"):
        assert result.pop(name) > 0
    return result


def flags_of(flagfile: pathlib.Path, data_dir) -> list[str]:
    """The flagfile, on little data and in the interpreter of all others."""
    flags, text = [f"--flagfile={flagfile}"], flagfile.read_text()
    if "--dataset=mnist" in text:
        flags += processes.tiny_mnist_flags(data_dir)
        if "--sampling=full" in text:
            flags.pop()  # How many are asked.
        if "--attack_fraction" in text:  # At least one of fifteen.
            flags += ["--attack_fraction=0.1"]
        if "--concurrency" in text:  # No more than there are clients.
            flags += ["--buffer_size=12", "--concurrency=15"]
        if "--public_examples" in text:  # Of thirty.
            flags += ["--public_examples=5"]
    if "--intra_op_threads" in text:
        flags += ["--intra_op_threads=1"]
    return flags


@pytest.mark.parametrize("flagfile", FLAGFILES, ids=lambda p: p.name)
def test_every_flagfile_is_built(flagfile, prepared):  # noqa: F811
    result = building.build(*flags_of(flagfile, prepared[0]), "--rounds=2")
    assert result.returncode == 0, result.stderr
    found = building.found(result)
    lines = flagfile.read_text().splitlines()
    says = dict(line.lstrip("-").split("=", 1) for line in lines if "=" in line)
    for name in ("dataset", "model", "algorithm", "aggregator", "dp"):
        assert found[name] == says.get(name, found[name])
    assert found["example_dp"] == says.get("example_dp", "none")
    assert int(found["parameters"]) > 1000
    assert float(found["expected_cohort"]) >= 1


@pytest.mark.parametrize("name", TRAINED)
def test_flagfiles_of_each_kind_train_two_rounds(name, tmp_path, prepared):  # noqa: F811
    named = [path for path in FLAGFILES if path.stem == name]
    flagfile = min(named, key=lambda path: len(path.parts))
    flags = [*flags_of(flagfile, prepared[0]), "--rounds=2"]
    flags += [f"--run_dir={tmp_path}/r"]
    result = processes.train(*flags)
    assert result.returncode == 0, result.stderr
    assert summary(tmp_path / "r")["rounds"] == 2


@pytest.fixture
def uninterrupted(trained):
    """A private run of eight rounds, and what it printed."""
    return trained(*PRIVATE)


def test_run_folder_holds_all_that_is_promised(uninterrupted):
    run_dir, _ = uninterrupted
    assert sorted(p.name for p in run_dir.iterdir()) == [
        "checkpoints",
        "config.json",
        "curves.png",
        "export",
        "ledger.jsonl",
        "metrics.jsonl",
        "summary.json",
        "tensorboard",
    ]
    config = json.loads((run_dir / "config.json").read_text())
    assert config["seed"] == 0
    assert config["flags"]["dp_delta"] == pytest.approx(20**-1.1)
    assert config["flags"]["model"] == "digits_cnn"
    assert config["flags"]["dirichlet_alpha"] is None
    assert config["versions"]["tensorflow"] == "2.14.1"
    found = rows(run_dir)
    assert [row["round"] for row in found] == list(range(1, 9))
    for row in found:
        assert set(row) == {
            "round",
            "cohort_size",
            "clients_excluded",
            "train_loss",
            "train_accuracy",
            "epsilon",
            "delta",
            "examples",
            "bytes_down",
            "bytes_up",
            "bytes_total",
            "test_loss",
            "test_accuracy",
            "clip_norm",
            "fraction_clipped",
            "mean_update_norm",
            "noise_stddev",
            "signal_to_noise",
        }
        assert row["clip_norm"] == 0.3
        assert row["noise_stddev"] == pytest.approx(0.3 / 10)
        # The mean of clipped updates is no longer than the clip.
        assert 0 < row["mean_update_norm"] <= 0.3 * row["cohort_size"] / 10
        assert row["signal_to_noise"] == pytest.approx(
            row["mean_update_norm"] / 0.03 / 5450**0.5
        )
        assert row["bytes_down"] == row["cohort_size"] * 5450 * 4
    epsilons = [row["epsilon"] for row in found]
    assert (np.diff(epsilons) > 0).all()
    result = summary(run_dir)
    assert result["epsilon"] == epsilons[-1]
    assert result["test_accuracy"] == found[-1]["test_accuracy"]
    assert result["rounds_to_target"] is None
    assert "train_accuracy" in result["not_private_metrics"]["names"]
    assert "not private" in result["not_private_metrics"]["why"]


def test_the_privacy_card_states_what_the_run_did(trained):
    run_dir, _ = trained(*RANDOMIZED)
    card = (run_dir / "export" / "PRIVACY.md").read_text()
    found = summary(run_dir)
    assert f"epsilon {found['epsilon']:.4g} at delta" in card
    central, local = found["privacy"]["stages"]
    assert 19.5 < local["epsilon"] <= 20 and central["rounds"] == 2
    assert f"| Epsilon by PLD | {local['epsilon_pld']:.4g} |" in card
    assert f"## Stage: {local['stage']}" in card and "LocalLaplace" in card
    assert "## Stage: aggregation" in card and "Poisson" in card
    assert "train_loss" in card.split("## What is not covered")[1]
    last = rows(run_dir)[-1]
    assert last["local_update_epsilon"] == pytest.approx(local["epsilon"])


def test_a_run_without_privacy_has_a_card_that_says_so(trained):
    run_dir, _ = trained(*NOT_PRIVATE)
    card = (run_dir / "export" / "PRIVACY.md").read_text()
    assert "**There is no guarantee.**" in card


def test_a_person_sees_progress_and_a_summary(uninterrupted):
    run_dir, result = uninterrupted
    assert "round 8/8" in result.stderr and "ETA" in result.stderr
    assert "(not private)" in result.stderr
    # Ten clients at noise 1 for 5450 parameters cannot work, and one is told.
    assert result.stderr.count("the model will be mostly noise") == 1
    for part in (
        "NOT PRIVATE",
        "test accuracy",
        "s a round",
        str(run_dir),
        f"tensorboard --logdir={run_dir}/tensorboard",
    ):
        assert part in result.stdout
    assert "Traceback" not in result.stderr
    assert "Warning" not in result.stderr


def test_the_exported_model_is_the_one_that_was_evaluated(
    uninterrupted, digits
):
    import tensorflow as tf

    run_dir, _ = uninterrupted
    model = tf.keras.models.load_model(run_dir / "export" / "model.keras")
    predicted = model.predict(digits.test.images, verbose=0).argmax(axis=1)
    accuracy = np.mean(predicted == digits.test.labels)
    assert summary(run_dir)["test_accuracy"] == pytest.approx(accuracy)


def test_a_finished_run_is_shown_and_not_trained_again(uninterrupted):
    run_dir, first = uninterrupted
    before = (run_dir / "metrics.jsonl").read_bytes()
    result = processes.train(f"--run_dir={run_dir}", *PRIVATE)
    assert result.returncode == 0
    assert "This run is complete" in result.stdout
    shown = first.stdout.partition("Done.\n")[2]
    assert shown and shown in result.stdout
    assert (run_dir / "metrics.jsonl").read_bytes() == before


def test_resuming_with_changed_flags_is_refused_naming_them(
    uninterrupted, tmp_path
):
    run_dir = uninterrupted.copy(tmp_path / "run")
    result = processes.train(
        f"--run_dir={run_dir}", *PRIVATE, "--batch_size=5", "--seed=9"
    )
    assert result.returncode == 2
    assert "--batch_size=5 (was 10)" in result.stderr
    assert "--seed=9 (was 0)" in result.stderr
    assert "--rounds" not in result.stderr
    result = processes.train(f"--run_dir={run_dir}", *PRIVATE, "--noresume")
    assert result.returncode == 2 and "--noresume" in result.stderr
    result = processes.train(f"--run_dir={run_dir}", *PRIVATE, "--rounds=3")
    assert result.returncode == 0 and "complete" in result.stdout


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_is_as_if_nothing_had_happened(
    uninterrupted, tmp_path
):
    """What differs between mechanisms is the state that a round leaves.

    tests/contracts/mechanisms_contract_test.py goes on from that of each.
    """
    run_dir = tmp_path / "run"
    metrics = run_dir / "metrics.jsonl"
    arguments = ("-m", "experiments.train", f"--run_dir={run_dir}", *PRIVATE)
    # Before round 1, early and late in the rounds, and while it finishes.
    moments = [
        lambda: run_dir.exists(),
        lambda: metrics.exists() and len(metrics.read_text()) > 600,
        lambda: metrics.read_text().count("\n") >= 6,
        lambda: (run_dir / "curves.png").exists(),
    ]
    for moment in moments:
        program = forked.start(*arguments)
        try:
            processes.wait_until(moment)
            workers = processes.workers_of(program.pid)
        finally:
            program.kill()
            program.communicate()
        assert program.returncode == -signal.SIGKILL
        processes.wait_until(
            lambda pids=workers: not any(map(processes.is_alive, pids)), 5
        )
        assert not (run_dir / "summary.json").exists()
    result = processes.train(f"--run_dir={run_dir}", *PRIVATE)
    assert result.returncode == 0, result.stderr
    assert "Continuing after round" in result.stdout
    assert rows(run_dir) == rows(uninterrupted[0])
    assert summary(run_dir) == summary(uninterrupted[0])


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_a_torn_checkpoint_is_passed_over(
    uninterrupted, tmp_path
):
    run_dir = tmp_path / "run"
    program = forked.start(
        "-m", "experiments.train", f"--run_dir={run_dir}", *PRIVATE
    )
    processes.wait_until(lambda: (run_dir / "metrics.jsonl").exists())
    processes.wait_until(
        lambda: (run_dir / "metrics.jsonl").read_text().count("\n") >= 3
    )
    process = psutil.Process(program.pid)
    assert process.children(recursive=True) == []
    assert process.connections(kind="inet") == []
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=30)
    assert program.returncode == 130
    done = max(RunFolder(run_dir).checkpoint_rounds())
    assert f"the same command continues after round {done}." in errors
    assert "Traceback" not in errors

    newest = max((run_dir / "checkpoints").glob("round_*.npz"))
    os.truncate(newest, newest.stat().st_size // 2)
    result = processes.train(f"--run_dir={run_dir}", *PRIVATE)
    assert result.returncode == 0, result.stderr
    assert f"{newest} is torn or damaged" in result.stderr
    assert rows(run_dir) == rows(uninterrupted[0])
    assert summary(run_dir) == summary(uninterrupted[0])


@pytest.mark.slow
def test_target_accuracy_stops_the_run_and_more_rounds_extend_one(tmp_path):
    run_dir = tmp_path / "run"
    flags = [f"--run_dir={run_dir}", *TINY, "--client_learning_rate=0.5"]
    flags += ["--client_epochs=3", "--eval_every=2", "--server_momentum=0.5"]
    result = processes.train(*flags, "--rounds=3")
    assert result.returncode == 0, result.stderr
    # The first evaluation is of round 2, and the last round has one anyway.
    assert [row["test_accuracy"] is None for row in rows(run_dir)] == [
        True,
        False,
        False,
    ]
    result = processes.train(*flags, "--rounds=5")
    assert result.returncode == 0, result.stderr
    assert "Continuing after round 3" in result.stdout
    assert summary(run_dir)["rounds"] == 5
    assert summary(run_dir)["epsilon"] is None

    other = tmp_path / "other"
    flags[0] = f"--run_dir={other}"
    result = processes.train(*flags, "--rounds=90", "--target_accuracy=0.6")
    assert result.returncode == 0, result.stderr
    found = summary(other)
    assert found["rounds_to_target"] == found["rounds"] < 90
    assert found["test_accuracy"] >= 0.6
    assert "reached in round" in result.stdout
    evaluated = [r for r in rows(other) if r["test_accuracy"] is not None]
    assert all(r["test_accuracy"] < 0.6 for r in evaluated[:-1])


def test_real_noise_differs_between_runs_of_the_same_seed(trained):
    digests = set()
    for run_dir, result in (trained(*REAL), trained(*REAL, *AGAIN)):
        assert "NOT PRIVATE" not in result.stdout
        assert "against whoever sees the models of all rounds" in result.stdout
        digests.add(summary(run_dir)["weights_sha256"])
    assert len(digests) == 2


def test_cohorts_of_two_private_runs_of_one_seed_differ(trained):
    """They are what amplification assumes that nobody knows."""
    first, second = (
        [row["cohort_size"] for row in rows(run_dir)]
        for run_dir, _ in (trained(*REAL), trained(*REAL, *AGAIN))
    )
    assert len(first) == len(second) == 8
    assert first != second  # Alike by chance: once in a million.


def test_flags_of_a_flagfile_that_an_override_makes_idle_are_dropped(trained):
    run_dir, result = trained(*NOT_PRIVATE)
    for flag in ("dp_clip_norm", "dp_epsilon"):
        assert f"note: --{flag} of the flagfile has no effect" in result.stdout
    assert summary(run_dir)["epsilon"] is None


def test_a_typed_noise_replaces_the_epsilon_of_a_flagfile(tmp_path):
    result = processes.train(
        f"--flagfile={processes.ROOT}/experiments/quickstart.flags",
        "--dp_noise_multiplier=3",
        "--rounds=1",
        f"--run_dir={tmp_path}/run",
    )
    assert result.returncode == 0, result.stderr
    assert "--dp_epsilon of the flagfile gives way" in result.stdout
    assert summary(tmp_path / "run")["noise_multiplier"] == 3


def test_empty_cohorts_are_rounds_that_cost_privacy(tmp_path):
    result = processes.train(
        f"--run_dir={tmp_path}/run",
        "--num_clients=3",
        "--clients_per_round=1",
        "--rounds=6",
        "--dp=fixed_clip",
        "--dp_noise_multiplier=1",
        "--dp_delta=0.01",
        # Else the cohorts are secret, and one run in eight has no empty one.
        "--test_only_deterministic_noise",
    )
    assert result.returncode == 0, result.stderr
    found = rows(tmp_path / "run")
    empty = [row for row in found if row["cohort_size"] == 0]
    assert empty and all(row["train_loss"] is None for row in empty)
    assert all(row["bytes_up"] == 0 for row in empty)
    assert (np.diff([row["epsilon"] for row in found]) > 0).all()


def test_clients_that_diverge_are_excluded_counted_and_shown(tmp_path):
    result = processes.train(
        f"--run_dir={tmp_path}/run",
        *TINY,
        "--rounds=2",
        "--client_learning_rate=1e30",
    )
    assert result.returncode == 1, result.stderr
    assert "Done." not in result.stdout and "Traceback" not in result.stderr
    assert "DIVERGED            in round 1 " in result.stdout
    assert "server_learning_rate" in result.stdout
    assert [row["clients_excluded"] for row in rows(tmp_path / "run")] == [
        10,
        10,
    ]
    assert "20 updates excluded as not finite" in result.stdout
    losses = {row["test_loss"] for row in rows(tmp_path / "run")}
    assert len(losses) == 1  # Nothing was learned, and nothing was lost.


def test_a_released_metric_is_private_and_paid_for(uninterrupted, tmp_path):
    result = processes.train(
        f"--run_dir={tmp_path}/run", *PRIVATE, "--dp_metrics", "--rounds=3"
    )
    assert result.returncode == 0, result.stderr
    told = summary(tmp_path / "run")
    assert "dp_cohort_accuracy" not in told["not_private_metrics"]["names"]
    assert told["privacy"]["mechanism"]["metric_noise_multiplier"] == 1.0
    for row, without in zip(
        rows(tmp_path / "run"), rows(uninterrupted[0])[:3], strict=True
    ):
        # The metric has as much noise as the updates: twice the squared loss.
        assert row["epsilon"] > 1.3 * without["epsilon"]
        # A half of noise at five points of deviation, and a small cohort.
        assert -0.2 < row.pop("dp_cohort_accuracy") < 1.2
        assert row["test_accuracy"] == without["test_accuracy"]


@pytest.mark.parametrize(
    ("dp", "runtime"),
    [("tree", "in_process"), ("banded", "native"), ("blt", "in_process")],
)
def test_noise_that_is_correlated_over_rounds_trains(dp, runtime, tmp_path):
    flags = [f"--run_dir={tmp_path}/run", *TINY, "--clients_per_round=5"]
    flags += [f"--dp={dp}", "--dp_epsilon=8", f"--runtime={runtime}"]
    result = processes.train(*flags)
    assert result.returncode == 0, result.stderr
    told = summary(tmp_path / "run")
    assert told["is_private"] and 7.9 < told["epsilon"] <= 8
    assert "at least 4 rounds apart" in told["privacy"]["sampling"]
    assert "zero out" in told["privacy"]["neighbouring_relation"]
    # Two epochs of four rounds: a step in the cost with each.
    epsilons = [row["epsilon"] for row in rows(tmp_path / "run")]
    assert (np.diff(epsilons) >= -1e-9).all() and epsilons[4] > epsilons[3]


def test_a_run_stops_before_a_round_would_cross_epsilon_and_is_complete(
    tmp_path,
):
    flags = [
        f"--run_dir={tmp_path}/run",
        *PRIVATE,
        "--sampling=shuffled_epochs",
        "--clients_per_round=5",
        "--eval_every=0",
    ]
    # Noise 1 costs 1.31 a participation at delta 20^-1.1: two epochs of four
    # rounds cost more than 2.
    result = processes.train(*flags, "--dp_epsilon=2")
    assert result.returncode == 0, result.stderr
    found = rows(tmp_path / "run")
    assert len(found) == 4
    assert len({row["epsilon"] for row in found}) == 1
    assert found[-1]["epsilon"] <= 2 and found[-1]["test_accuracy"] is not None
    assert [row["cohort_size"] for row in found] == [5] * 4
    told = summary(tmp_path / "run")
    assert told["stopped_by_epsilon"]
    assert "zero out one client" in told["privacy"]["neighbouring_relation"]
    assert "4 rounds" in told["privacy"]["sampling"]
    again = processes.train(*flags, "--dp_epsilon=2")
    assert "This run is complete" in again.stdout
