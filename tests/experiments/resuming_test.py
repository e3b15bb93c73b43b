"""What a run has released counts, whatever happens to it; with real noise."""

import json
import os
import pathlib
import shutil
import signal
import socket

import pytest

from tests import forked, processes
from tests.experiments.train_test import REAL, rows, summary
from tff_cnn.privacy.history import History
from tff_cnn.training.releases import Releases
from tff_cnn.training.run_folder import RunFolder

TINY = (
    "--num_clients=20",
    "--clients_per_round=10",
    "--batch_size=10",
    "--dp_noise_multiplier=1",
)
PRIVATE = (*TINY, "--dp=fixed_clip", "--rounds=8")
# A folder that the program of commit 95961ba left after four rounds of six.
OLD = pathlib.Path(__file__).parent / "fixtures" / "run_of_95961ba"
OLD_FLAGS = (
    "--num_clients=20",
    "--clients_per_round=10",
    "--batch_size=10",
    "--dp=fixed_clip",
    "--dp_epsilon=3",
    "--rounds=6",
)


def lines_of(path: pathlib.Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def stopped(run_dir, flags, number, after) -> str:
    """Starts a run, signals it after so many rows, and returns its stderr."""
    program = forked.start(
        "-m", "experiments.train", f"--run_dir={run_dir}", *flags
    )
    try:
        processes.wait_until(
            lambda: lines_of(run_dir / "metrics.jsonl") >= after
        )
    finally:
        program.send_signal(number)
    _, errors = program.communicate(timeout=60)
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
    assert program.returncode == expected[number], errors
    assert "Traceback" not in errors
    return errors


def history(run_dir) -> History:
    return Releases(run_dir / "ledger.jsonl").history


@pytest.mark.slow
def test_rounds_that_a_kill_lost_come_again_as_they_were_and_count_once(
    tmp_path,
):
    # No checkpoint is due, so all rounds that were seen are computed again.
    flags = (*PRIVATE, "--dp_metrics", "--checkpoint_every=100", "--rounds=40")
    stopped(tmp_path, flags, signal.SIGKILL, after=5)
    seen = rows(tmp_path)
    assert max(RunFolder(tmp_path).checkpoint_rounds()) == 0
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    assert history(tmp_path).released >= len(seen) >= 5
    result = processes.train(f"--run_dir={tmp_path}", *flags)
    assert result.returncode == 0, result.stderr
    assert rows(tmp_path)[: len(seen)] == seen
    assert history(tmp_path) == History(40)
    assert summary(tmp_path)["privacy"]["rounds"] == 40
    assert summary(tmp_path)["privacy"]["rounds_repeated"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_the_last_round_that_it_names(tmp_path, number):
    flags = (*PRIVATE, "--checkpoint_every=100", "--rounds=200")
    errors = stopped(tmp_path, flags, number, after=3)
    done = max(RunFolder(tmp_path).checkpoint_rounds())
    assert done >= 3
    assert errors.endswith(f"the same command continues after round {done}.\n")
    assert len(rows(tmp_path)) == done
    # At most the round that was being released is recorded beyond it.
    assert done <= history(tmp_path).released <= done + 1


@pytest.mark.slow
def test_noise_that_cannot_come_again_is_paid_for_twice(tmp_path):
    flags = (*TINY, "--dp=distributed_skellam", "--rounds=60")
    flags += ("--checkpoint_every=100",)
    stopped(tmp_path, flags, signal.SIGKILL, after=3)
    released = history(tmp_path).released
    flags = (*flags[:-2], "--rounds=60", "--checkpoint_every=1")
    result = processes.train(f"--run_dir={tmp_path}", *flags)
    assert result.returncode == 0, result.stderr
    assert f"rounds 1 to {released} had been released" in result.stderr
    assert history(tmp_path) == History(60, ((1, released),))
    told = summary(tmp_path)["privacy"]
    assert told["rounds"] == 60 + released
    assert told["rounds_repeated"] == released


def test_a_result_that_differs_is_thrown_away_and_a_new_branch_begins(
    trained, tmp_path
):
    """As if the code had changed between a kill and the next start."""
    tmp_path = trained(*REAL).copy(tmp_path / "run")
    folder = RunFolder(tmp_path)
    folder.summary.unlink()
    for number in (7, 8):
        folder.checkpoint_rounds()[number].unlink()
    before = rows(tmp_path)
    # What is recorded of round 8 is not what it will be.
    lines = folder.ledger.read_text().splitlines(keepends=True)
    folder.ledger.write_text("".join(lines[:-1]))
    Releases(folder.ledger).record(8, "of other code")
    result = processes.train(f"--run_dir={tmp_path}", *PRIVATE)
    assert result.returncode == 0, result.stderr
    assert "round 8 had been released before with another" in result.stderr
    assert "goes on after round 7 with new cohorts" in result.stderr
    assert history(tmp_path) == History(8, ((8, 8),))
    after = rows(tmp_path)
    assert after[:7] == before[:7] and after[7] != before[7]
    told = summary(tmp_path)
    assert told["privacy"]["rounds"] == 9
    assert told["epsilon"] > before[7]["epsilon"]


def test_a_run_of_older_code_goes_on_and_forgets_nothing(tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(OLD, run_dir)
    before = rows(run_dir)
    noise = json.loads((run_dir / "config.json").read_text())["flags"]
    result = processes.train(f"--run_dir={run_dir}", *OLD_FLAGS)
    assert result.returncode == 0, result.stderr
    assert "Continuing after round 4" in result.stdout
    assert rows(run_dir)[:4] == before
    told = summary(run_dir)
    assert told["rounds"] == 6 and told["privacy"]["rounds"] == 6
    assert told["noise_multiplier"] == noise["dp_noise_multiplier"]
    assert 0 < told["epsilon"] <= 3
    assert (
        "first 4 rounds followed from the seed" in (told["privacy"]["sampling"])
    )
    assert (
        "followed from the seed"
        in (run_dir / "export" / "PRIVACY.md").read_text()
    )


def test_fewer_rounds_than_there_are_change_nothing(tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(OLD, run_dir)
    config = RunFolder(run_dir).read_config()
    config["flags"] |= {"rounds": 3, "dp_epsilon": None}
    RunFolder(run_dir).write_config(config)
    before = contents(run_dir)
    flags = [f for f in OLD_FLAGS if "rounds=" not in f and "epsilon" not in f]
    noise = config["flags"]["dp_noise_multiplier"]
    flags += ["--rounds=3", f"--dp_noise_multiplier={noise}"]
    result = processes.train(f"--run_dir={run_dir}", *flags)
    assert result.returncode == 2, result.stderr
    assert contents(run_dir) == before


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            lambda folder: shutil.rmtree(folder.checkpoints),
            "has no checkpoint to go on from",
        ),
        (
            lambda folder: [
                path.write_bytes(b"torn")
                for path in folder.checkpoint_rounds().values()
            ],
            "none of the 1 checkpoints",
        ),
        (lambda folder: folder.metrics.unlink(), "ends with round 0"),
        (
            lambda folder: folder.config.write_text("{}"),
            "names no flags of a run",
        ),
    ],
    ids=["no checkpoints", "torn checkpoints", "no rows", "no config"],
)
def test_a_folder_that_holds_rounds_is_never_begun_anew(
    tmp_path, damage, reason
):
    run_dir = tmp_path / "run"
    shutil.copytree(OLD, run_dir)
    damage(RunFolder(run_dir))
    before = contents(run_dir)
    result = processes.train(f"--run_dir={run_dir}", *OLD_FLAGS)
    assert result.returncode == 2
    assert reason in result.stderr and "Traceback" not in result.stderr
    assert contents(run_dir) == before


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_a_second_process_on_a_folder_is_refused(tmp_path):
    flags = (*PRIVATE, "--rounds=300")
    program = forked.start(
        "-m", "experiments.train", f"--run_dir={tmp_path}", *flags
    )
    try:
        processes.wait_until(lambda: lines_of(tmp_path / "metrics.jsonl") >= 1)
        result = processes.train(f"--run_dir={tmp_path}", *flags)
        assert result.returncode == 2
        owner = f"process {program.pid} on {socket.gethostname()}"
        assert owner in result.stderr
    finally:
        program.kill()
        program.communicate()
    assert [r["round"] for r in rows(tmp_path)] == list(
        range(1, len(rows(tmp_path)) + 1)
    )
    assert (tmp_path / ".lock").exists()  # Stale, and noticed:
    done = history(tmp_path).released
    flags = (*PRIVATE, f"--rounds={done}")
    result = processes.train(f"--run_dir={tmp_path}", *flags)
    assert result.returncode == 0, result.stderr
    assert f"left by process {program.pid}" in result.stderr
    assert not (tmp_path / ".lock").exists()


def test_a_folder_that_is_deleted_under_a_run_is_one_sentence(tmp_path):
    run_dir = tmp_path / "run"
    program = forked.start(
        "-m",
        "experiments.train",
        f"--run_dir={run_dir}",
        *PRIVATE,
        "--rounds=2000",
    )
    try:
        processes.wait_until(lambda: lines_of(run_dir / "metrics.jsonl") >= 2)
        run_dir.rename(tmp_path / "gone")
        _, errors = program.communicate(timeout=60)
    finally:
        program.kill()
    assert program.returncode == 1, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith(f"error: {run_dir}/")
    assert not run_dir.exists()


def test_a_private_run_without_its_secret_is_not_continued(trained, tmp_path):
    tmp_path = trained(*REAL).copy(tmp_path / "run")
    os.unlink(tmp_path / "secret.key")
    # What is finished needs it no longer.
    result = processes.train(f"--run_dir={tmp_path}", *PRIVATE)
    assert result.returncode == 0 and "complete" in result.stdout
    before = contents(tmp_path)
    result = processes.train(f"--run_dir={tmp_path}", *PRIVATE, "--rounds=9")
    assert result.returncode == 2 and "secret.key" in result.stderr
    assert contents(tmp_path) == before
