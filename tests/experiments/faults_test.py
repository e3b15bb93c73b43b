"""The campaign of faults, in short; BUILD_NOTES has the long one's figures."""

import os
import random

import pytest

from experiments.benchmarks import fault_folders, fault_kills, forks
from tests import processes


@pytest.fixture
def served(monkeypatch):
    """Campaigns run their programs where the suite does."""
    monkeypatch.setattr(forks, "ForkServer", processes.Server)


@pytest.mark.slow
@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("seed", [3])
def test_no_kill_makes_a_run_forget(seed):
    found = fault_kills.campaign(2, seed, jobs=1, names=("tree",))
    assert found["went_wrong"] == []
    (counts,) = found["runs"].values()
    assert sum(counts.get(kind, 0) for kind in fault_kills.KINDS) >= 2


@pytest.mark.slow
@pytest.mark.usefixtures("served")
def test_no_damage_is_a_stack_trace_or_a_new_beginning():
    found = fault_folders.campaign(8, seed=5, jobs=1)
    assert found["went_wrong"] == []
    assert sum(found["endings"].values()) == 8
    # Some are refused, some are none.
    statuses = {ending[-1] for ending in found["endings"]}
    assert {"0", "2"} <= statuses


def test_a_ledger_that_forgets_would_be_found(tmp_path):
    """The judge's own test: what it is shown is more than what is counted."""
    trial = fault_kills.Trial("fixed_clip", 1, ["SIGKILL"], 0)
    trial._folder, trial._faults = tmp_path, []
    run_dir = tmp_path / "disturbed"
    run_dir.mkdir()
    releases = fault_kills.Releases(run_dir / "ledger.jsonl")
    releases.begin(after=0)
    releases.record(1, "state")
    seen = tmp_path / "disturbed.seen"
    seen.write_text("0 initial \n1 aaaa 0.5\n1 aaaa \n")
    trial._judge(run_dir, "SIGKILL", {}, {"status": -9, "err": ""})
    assert trial._faults == []
    seen.write_text(seen.read_text() + "1 bbbb \n")
    trial._judge(run_dir, "SIGKILL", {}, {"status": -9, "err": ""})
    assert trial._faults[0]["why"] == "1 rounds counted, 2 seen"
    trial._judge(run_dir, "SIGINT", {}, {"status": 70, "err": ""})
    assert trial._faults[1]["why"] == "status 70"


def test_damage_damages_and_all_ways_come_up(tmp_path):
    seen = set()
    for number in range(150):
        folder = tmp_path / str(number)
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "round_000000.npz").write_bytes(b"x" * 99)
        (folder / "config.json").write_text('{"flags": {"a": 1}, "b": 2}')
        (folder / "ledger.jsonl").write_text('{"round": 1}\n{"round": 2}\n')
        os.symlink("config.json", folder / "secret.key")
        seen.add(fault_folders.damage(random.Random(number), folder))
    ways = {text.split(" ", 1)[1] for text in seen}
    assert {"cut", "flip", "delete", "replace", "other kind"} <= ways
    assert {"lines", "edit", "removed"} <= ways
