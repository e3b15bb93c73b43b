"""A short campaign, and that a campaign sees what it looks for."""

import pytest

from experiments.benchmarks import fault_flags, forks
from tests import processes


def test_random_flags_end_as_they_should(monkeypatch):
    # Sets are checked where TensorFlow is withheld, and trained where the
    # suite trains.
    server = forks.ForkServer
    monkeypatch.setattr(
        forks,
        "ForkServer",
        lambda preload, withheld=(): (
            server(preload, withheld) if withheld else processes.Server()
        ),
    )
    found = fault_flags.campaign(count=60, seed=11, trained=1)
    assert found["offenders"] == []
    assert sum(found["checked"].values()) == found["sets"] == 60
    # Neither is everything refused nor everything accepted.
    assert found["checked"]["status 2"] > 20
    assert found["checked"]["accepted"] > 2
    assert set(found["checked"]) <= {"accepted", "status 0", "status 2"}
    assert sum(found["trained"].values()) == 1


@pytest.mark.parametrize(
    ("status", "err", "fault"),
    [
        (None, "", "hang"),
        (1, "Traceback (most recent call last):\nX\n", "stack trace"),
        (70, "error: a defect.\n", "status 70"),
        (-9, "", "status -9"),
        (2, "", "no sentence"),
        (2, "note: x.\nerror: y.\n", "2 lines"),
        (2, "error: y.\n", None),
        (1, "error: y.\n", None),
        (0, "note: x.\n", None),
        (forks.WANTED, "", None),
    ],
)
def test_what_is_a_fault(status, err, fault):
    result = {"status": status, "err": err, "out": ""}
    assert fault_flags._fault_of_ending(result, strict=True) == fault


def test_sets_follow_from_the_seed(tmp_path):
    streams = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        root = tmp_path / name
        root.mkdir()
        sets = iter(fault_flags.FlagSets(seed, fault_flags._Places(root)))
        drawn = [next(sets) for _ in range(50)]
        streams.append([[t.replace(str(root), "") for t in s] for s in drawn])
    assert streams[0] == streams[1] != streams[2]


FORKED = """
import os, sys, time
if sys.argv[1] == "hang":
    time.sleep(60)
if sys.argv[1] == "wanted":
    import antigravity
if sys.argv[1] == "defect":
    raise KeyError("x")
print(os.getcwd(), len(sys.argv))
sys.exit(int(sys.argv[1]))
"""


def test_the_server_of_forks(tmp_path, monkeypatch):
    (tmp_path / "forked.py").write_text(FORKED)
    with forks.ForkServer(["json"], withheld=["antigravity"]) as server:

        def run(argument):
            return server.run(["forked", argument], tmp_path, timeout=2)

        assert run("3")["status"] == 3
        assert run("0")["out"] == f"{tmp_path} 2\n"
        assert run("wanted")["status"] == forks.WANTED
        assert run("defect")["status"] == 70
        assert "KeyError" in run("defect")["err"]
        assert run("hang")["status"] is None
