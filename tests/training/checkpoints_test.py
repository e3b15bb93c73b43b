import collections
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.core.client_states import ClientStates
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.training.checkpoints import Checkpoints, state_digest
from tff_cnn.training.loop import Round
from tff_cnn.training.releases import Releases

TINY = np.float32(0.1)


def state(value: float):
    """All kinds of leaves that TFF's states have."""
    return collections.OrderedDict(
        weights=[np.full((2, 3), value, np.float32), np.float32(value)],
        event=(b"GaussianDpEvent\x00", np.bool_(value > 0)),
        counter=np.int32(value),
        nothing=(),
    )


TEMPLATE = state(0.0)
MECHANISM = FixedClipGaussian(1.0, 2.0, 5.0, Participation("poisson", 0.5))


def assert_same(found, expected):
    tf.nest.assert_same_structure(found, expected)
    for a, b in zip(
        tf.nest.flatten(found), tf.nest.flatten(expected), strict=True
    ):
        assert type(a) is type(b)
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", "fingerprint", 100)


def test_round_trip_is_exact(checkpoints):
    checkpoints.save(3, state(0.1))
    round_num, found, refused = checkpoints.load_latest(TEMPLATE)
    assert round_num == 3 and refused == []
    assert_same(found, state(0.1))


def test_a_buffer_may_have_grown(checkpoints):
    grown = {**state(0.1), "weights": [np.ones((5, 3), "f4"), TINY]}
    checkpoints.save(3, grown)
    assert_same(checkpoints.load_latest(TEMPLATE)[1], grown)


def test_without_checkpoints_the_template_is_round_zero(checkpoints):
    round_num, found, refused = checkpoints.load_latest(TEMPLATE)
    assert (round_num, refused) == (0, []) and found is TEMPLATE


def test_keeps_the_newest_few(checkpoints, tmp_path):
    for round_num in range(1, 8):
        checkpoints.save(round_num, state(round_num))
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == [f"round_00000{i}.npz" for i in (5, 6, 7)]
    assert checkpoints.load_latest(TEMPLATE)[0] == 7


def test_every_torn_length_is_refused_by_name_and_the_previous_used(
    checkpoints,
):
    checkpoints.save(1, state(1))
    path = checkpoints.save(2, state(2))
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        round_num, found, refused = checkpoints.load_latest(TEMPLATE)
        assert round_num == 1
        assert_same(found, state(1))
        assert len(refused) == 1 and str(path) in str(refused[0])


def test_every_flipped_byte_is_refused_or_harmless(checkpoints):
    checkpoints.save(1, state(1))
    path = checkpoints.save(2, state(2))
    content = bytearray(path.read_bytes())
    num_refused = 0
    for position in range(0, len(content), 13):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        round_num, found, refused = checkpoints.load_latest(TEMPLATE)
        num_refused += len(refused)
        # What is accepted is right: zip archives have bytes without meaning.
        assert_same(found, state(round_num))
    assert num_refused > len(content) / 13 / 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, p: p.rename(p.with_name("round_000009.npz")), "renamed"),
        (
            lambda c, p: Checkpoints(c, "other", 100).save(2, state(2)),
            "other settings",
        ),
        (
            lambda c, p: Checkpoints(c, "fingerprint", 100).save(2, [1.0]),
            "another structure",
        ),
        (
            lambda c, p: Checkpoints(c, "fingerprint", 100).save(
                2, {**state(2), "weights": [np.zeros((2, 4), "f4"), TINY]}
            ),
            "another structure",
        ),
    ],
)
def test_foreign_files_are_refused(checkpoints, tmp_path, change, message):
    checkpoints.save(1, state(1))
    path = checkpoints.save(2, state(2))
    change(tmp_path / "checkpoints", path)
    round_num, _, refused = checkpoints.load_latest(TEMPLATE)
    assert round_num == 1
    assert len(refused) == 1 and message in str(refused[0])


def test_other_files_in_the_folder_are_left_alone(checkpoints, tmp_path):
    path = checkpoints.save(1, state(1))
    (path.parent / ".round_000002.npz.77.tmp").write_bytes(b"killed")
    (path.parent / "notes.txt").write_text("mine")
    assert checkpoints.load_latest(TEMPLATE)[0] == 1
    assert (path.parent / "notes.txt").exists()


def private(folder, ledger):
    return Checkpoints(folder, "f", 100, ledger=ledger)


def test_the_ledger_is_of_the_round_of_the_state(tmp_path):
    ledger = Ledger(MECHANISM, 1e-3)
    checkpoints = private(tmp_path, ledger)
    for number in (1, 2, 3):
        ledger.spend_round()
        checkpoints.after_round(Round(number, state(number), {}))
    ledger.spend_round()  # Killed before the checkpoint of round 4 ...
    resumed = Ledger(MECHANISM, 1e-3)
    assert private(tmp_path, resumed).load_latest(TEMPLATE)[0] == 3
    assert resumed.rounds == 3
    # ... or while it was written: neither lost nor counted twice.
    (tmp_path / "round_000003.npz").write_bytes(b"torn")
    resumed = Ledger(MECHANISM, 1e-3)
    assert private(tmp_path, resumed).load_latest(TEMPLATE)[0] == 2
    assert resumed.rounds == 2


def test_a_checkpoint_whose_spending_is_not_known_is_refused(tmp_path):
    Checkpoints(tmp_path, "f", 100).save(1, state(1))
    private(tmp_path, Ledger(MECHANISM, 1e-3, 5)).save(2, state(2))
    private(tmp_path, Ledger(MECHANISM, 1e-4, 3)).save(3, state(3))
    ledger = Ledger(MECHANISM, 1e-3)
    with pytest.raises(UsageError, match="none of the 3 checkpoints"):
        private(tmp_path, ledger).load_latest(TEMPLATE)
    assert ledger.rounds == 0
    good = Ledger(MECHANISM, 1e-3)
    Checkpoints(tmp_path, "f", 100, keep=9, ledger=good).save(0, state(0))
    round_num, _, refused = private(tmp_path, ledger).load_latest(TEMPLATE)
    assert round_num == 0
    for error, part in zip(
        refused,
        ["delta 0.0001", "rounds 5, not 2", "rounds None, not 1"],
        strict=True,
    ):
        assert part in str(error)


def test_files_of_which_none_is_good_are_an_error_and_no_new_beginning(
    checkpoints,
):
    for number in (1, 2):
        checkpoints.save(number, state(number)).write_bytes(b"torn")
    with pytest.raises(UsageError) as error:
        checkpoints.load_latest(TEMPLATE)
    assert "none of the 2 checkpoints" in str(error.value)
    assert "round_000002.npz is torn or damaged" in str(error.value)


def test_older_digests_of_the_same_run_are_accepted(tmp_path):
    Checkpoints(tmp_path, "old", 100).save(2, state(2))
    new = Checkpoints(tmp_path, "new", 100, other_fingerprints=["old"])
    assert new.load_latest(TEMPLATE)[0] == 2
    new.save(3, state(3))
    assert Checkpoints(tmp_path, "new", 100).load_latest(TEMPLATE)[0] == 3


class Counted(NamedTuple):
    clip: Any
    noise_round: Any
    kept: Any


def test_counters_of_noise_that_older_files_lack_begin_anew(tmp_path):
    old = {
        "a": (np.float32(1), np.ones(3, "f4")),
        "noise_multiplier": np.int32(7),
    }
    Checkpoints(tmp_path, "f", 100).save(5, old)
    template = {
        "a": Counted(np.float32(0), np.int32(0), np.zeros(3, "f4")),
        "noise_multiplier": np.int32(0),
    }
    number, found, _ = Checkpoints(tmp_path, "f", 100).load_latest(template)
    assert number == 5
    expected = Counted(np.float32(1), np.int32(0), np.ones(3, "f4"))
    assert_same(found, {"a": expected, "noise_multiplier": np.int32(7)})
    other = {**template, "c": np.int32(0)}  # Anything else is missing.
    with pytest.raises(UsageError, match="another structure"):
        Checkpoints(tmp_path, "f", 100).load_latest(other)


def test_states_that_were_not_released_are_refused(tmp_path):
    releases = Releases(tmp_path / "ledger.jsonl")
    releases.begin(after=0)
    folder = tmp_path / "checkpoints"
    recorded = Checkpoints(folder, "f", 100, releases=releases)
    for number in (1, 2):
        recorded.save(number, state(number))
        releases.record(number, state_digest(state(number)))
    assert recorded.load_latest(TEMPLATE)[0] == 2
    recorded.save(2, state(5))
    number, _, refused = recorded.load_latest(TEMPLATE)
    assert number == 1 and "not the one that was released" in str(refused[0])
    recorded.save(3, state(3))
    with pytest.raises(UsageError, match="ends with round 2, but there is a"):
        recorded.load_latest(TEMPLATE)


def test_what_was_not_due_can_be_saved_with_what_was_spent_by_then(tmp_path):
    ledger = Ledger(MECHANISM, 1e-3)
    hook = Checkpoints(tmp_path, "f", 100, every=50, ledger=ledger)
    hook.save_latest()
    for number in (1, 2):
        ledger.spend_round()
        hook.after_round(Round(number, state(number), {}))
    ledger.spend_round()  # Of a round whose hooks have not run.
    assert list(tmp_path.iterdir()) == []
    hook.save_latest()
    resumed = Ledger(MECHANISM, 1e-3)
    assert private(tmp_path, resumed).load_latest(TEMPLATE)[0] == 2
    assert resumed.rounds == 2
    (tmp_path / "round_000002.npz").unlink()
    hook.save_latest()
    assert list(tmp_path.iterdir()) == []


def test_as_a_hook_it_saves_when_due_at_a_stop_and_at_the_end(tmp_path):
    hook = Checkpoints(tmp_path, "f", last_round=11, every=4, keep=9)
    for number in range(1, 12):
        hook.after_round(Round(number, state(number), {}, stop=number == 6))
    names = sorted(int(p.stem[-6:]) for p in tmp_path.iterdir())
    assert names == [4, 6, 8, 11]


def test_rows_of_several_kinds_stay_while_a_checkpoint_refers_to_them(
    tmp_path,
):
    """Clients of different models: each kind has rows of its own size."""
    kinds = [ClientStates(np.zeros(size, np.float32)) for size in (2, 3)]
    checkpoints = Checkpoints(tmp_path, "print", last_round=3, keep=2)
    for number in (1, 2, 3):
        kinds = [
            states.after([client], [np.full(size, number, np.float32)])
            for client, (states, size) in enumerate(
                zip(kinds, (2, 3), strict=True)
            )
        ]
        checkpoints.save(number, {"kinds": tuple(kinds)})
    # Of the rounds 2 and 3, of each of the two clients.
    assert len(list((tmp_path / "clients").iterdir())) == 4
    template = {
        "kinds": tuple(ClientStates(np.zeros(n, np.float32)) for n in (2, 3))
    }
    done, state, refused = checkpoints.load_latest(template)
    assert done == 3 and not refused
    first, second = state["kinds"]
    np.testing.assert_array_equal(first.of([0])[0], [3, 3])
    np.testing.assert_array_equal(second.of([1])[0], [3, 3, 3])
