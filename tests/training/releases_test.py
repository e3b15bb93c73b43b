import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.core.errors import FailedRunError, UsageError
from tff_cnn.privacy.history import History
from tff_cnn.training.releases import BranchError, Releases


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def begun(path, rounds=()):
    releases = Releases(path)
    releases.begin(after=0)
    for number in rounds:
        releases.record(number, f"state {number}")
    return releases


def test_what_is_recorded_is_read_again(path):
    begun(path, [1, 2, 3])
    found = Releases(path)
    assert (found.branch, found.last_round) == (1, 3)
    assert found.history == History(3)
    assert [found.is_known(n) for n in (1, 2, 3)] == [True] * 3


def test_a_round_is_on_the_disk_before_record_returns(path, monkeypatch):
    releases = begun(path)
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append(path.read_bytes())
    )
    releases.record(1, "a")
    assert len(synced) == 1 and b'"round": 1' in synced[0]


def test_the_same_result_again_costs_nothing(path):
    releases = begun(path, [1, 2])
    size = path.stat().st_size
    releases.record(2, "state 2")
    assert releases.history == History(2) and path.stat().st_size == size


def test_another_result_of_the_same_round_is_refused_and_a_branch_pays(path):
    releases = begun(path, [1, 2, 3])
    with pytest.raises(BranchError, match="round 2 had been released") as e:
        releases.record(2, "other")
    assert e.value.after == 1 and releases.history == History(3)
    assert str(e.value) == (
        "round 2 had been released before with another result"
    )
    releases.begin(e.value.after)
    releases.record(2, "other")
    assert releases.branch == 2
    assert releases.history == Releases(path).history == History(2, ((2, 3),))


def test_a_metric_is_part_of_what_is_released(path):
    releases = begun(path)
    releases.record(1, "a", metric=0.5)
    Releases(path).record(1, "a", metric=0.5)
    with pytest.raises(BranchError):
        releases.record(1, "a", metric=0.25)
    with pytest.raises(BranchError):
        releases.record(1, "a")


def test_what_cannot_come_next_is_not_written(path):
    releases = Releases(path)
    with pytest.raises(ValueError, match="round 1 out of place"):
        releases.record(1, "a")
    assert not path.exists()
    releases.begin(after=0)
    content = path.read_bytes()
    for after in (-1, 1):
        with pytest.raises(ValueError, match=f"branch 2 after round {after}"):
            releases.begin(after)
    with pytest.raises(ValueError, match="round 2 out of place"):
        releases.record(2, "a")
    assert path.read_bytes() == content


def test_branches_of_branches(path):
    releases = begun(path, range(1, 11))
    releases.begin(after=0)
    for number in (1, 2, 3):
        releases.record(number, "second")
    releases.begin(after=3)  # Nothing is left behind.
    releases.begin(after=2)
    assert releases.history == History(2, ((1, 10), (3, 3)))
    assert releases.history.released == 10 + 1 + 2


def test_rounds_from_before_the_record(path):
    releases = Releases(path)
    releases.begin(after=0, already=4)
    releases = Releases(path)
    assert releases.history == History(4) and releases.num_unsecret == 4
    assert not releases.is_known(4)
    with pytest.raises(BranchError):
        releases.record(4, "state 4")
    releases.begin(after=3)
    assert releases.history == History(3, ((4, 4),))
    assert releases.num_unsecret == 4


def test_states_are_held_against_the_record(path):
    releases = begun(path, [1, 2])
    releases.check_state(0, "anything")
    releases.check_state(2, "state 2")
    with pytest.raises(ValueError, match="not the one that was released"):
        releases.check_state(1, "state 2")
    with pytest.raises(UsageError, match="ends with round 2, but there is a"):
        releases.check_state(3, "state 3")


def test_a_torn_last_line_was_never_seen(path):
    begun(path, [1, 2])
    content = path.read_bytes()
    start = content[:-1].rindex(b"\n") + 1
    for length in range(start, len(content)):
        path.write_bytes(content[:length])
        releases = Releases(path)
        assert releases.history == History(1)
        releases.record(2, "state 2")
        assert path.read_bytes() == content


def test_every_changed_byte_and_every_missing_line_is_noticed(path):
    begun(path, [1, 2, 3])
    content = path.read_bytes()
    for position in range(0, len(content) - 1, 3):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="is damaged in line"):
            Releases(path)
    lines = content.splitlines(keepends=True)
    for missing in range(len(lines) - 1):
        path.write_bytes(b"".join(lines[:missing] + lines[missing + 1 :]))
        with pytest.raises(UsageError, match=f"in line {missing + 1}"):
            Releases(path)
    path.write_bytes(content + lines[-1])
    with pytest.raises(UsageError, match="in line 5"):
        Releases(path)


@pytest.mark.parametrize(
    "text",
    ["null\n", "[]\n", "{}\n", '{"check": 3}\n', "\n", "[" * 100_000 + "\n"],
    ids=["null", "list", "empty", "no line", "blank", "deep"],
)
def test_a_file_that_is_something_else_is_one_sentence(path, text):
    path.write_text(text)
    with pytest.raises(UsageError, match="is damaged in line 1"):
        Releases(path)


def test_a_file_that_goes_while_a_run_goes_on_is_not_begun_anew(path):
    releases = begun(path, [1, 2])
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    with pytest.raises(FailedRunError, match="was cut or replaced"):
        releases.record(3, "state 3")
    path.unlink()
    with pytest.raises(FailedRunError, match="was cut or replaced"):
        releases.record(3, "state 3")
    assert releases.last_round == 2


def test_a_full_disk_records_nothing_and_the_next_line_is_whole(path):
    releases = begun(path, [1])
    with open(path, "ab") as file:  # What a failed write leaves.
        file.write(b'{"rou')
    releases.record(2, "state 2")
    assert Releases(path).history == History(2)
    assert all(json.loads(line) for line in path.read_text().splitlines())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5))))
def test_whatever_was_recorded_counts_for_ever(tmp_path_factory, moves):
    """Any sequence of branches, against a count of all that was recorded."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    releases = begun(path)
    recorded = 0
    for after, num_rounds in moves:
        releases.begin(min(after, releases.last_round))
        for _ in range(num_rounds):
            number = releases.last_round + 1
            releases.record(number, f"{releases.branch} {number}")
            recorded += 1
        assert releases.history.released == recorded
        assert Releases(path).history == releases.history
