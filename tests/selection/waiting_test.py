"""Whom a server waits for, by hand and as a rule."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_cnn.selection.waiting import Waiting

TIMES = {3: 4.0, 5: 1.0, 6: 9.0, 8: 4.0}
SELECTED = sorted(TIMES)


def waiting(**options):
    return Waiting(lambda client, number: TIMES[client] * number, **options)


@pytest.mark.parametrize(
    ("options", "kept", "seconds"),
    [
        # Everybody is waited for.
        ({}, [3, 5, 6, 8], 9.0),
        ({"deadline": 9.0}, [3, 5, 6, 8], 9.0),
        # Two are late, and the server waits for them as long as it may.
        ({"deadline": 5.0}, [3, 5, 8], 5.0),
        ({"deadline": 0.5}, [], 0.5),
        # Enough have come before: nobody waits for the others.
        ({"enough": 1}, [5], 1.0),
        ({"enough": 2}, [3, 5], 4.0),
        ({"enough": 3, "deadline": 8.0}, [3, 5, 8], 4.0),
        ({"enough": 3, "deadline": 2.0}, [5], 2.0),
        ({"enough": 7}, [3, 5, 6, 8], 9.0),
    ],
)
def test_by_hand(options, kept, seconds):
    found = waiting(**options).keep(1, SELECTED)
    assert found.tolist() == kept and found.dtype == np.int64
    assert waiting(**options).duration(1, SELECTED) == seconds


def test_each_round_has_its_own_times():
    assert waiting(deadline=8.0).keep(2, SELECTED).tolist() == [3, 5, 8]
    assert waiting().duration(2, SELECTED) == 18.0


def test_nobody_is_waited_for_where_nobody_was_asked():
    found = waiting(deadline=5.0)
    assert found.keep(1, []).tolist() == [] and found.duration(1, []) == 0.0


@given(
    times=st.lists(st.floats(0, 1e6), max_size=20),
    enough=st.one_of(st.none(), st.integers(1, 25)),
    deadline=st.one_of(st.just(math.inf), st.floats(1e-3, 1e6)),
)
def test_who_is_kept_came_before_who_is_not(times, enough, deadline):
    found = Waiting(lambda client, _: times[client], enough, deadline)
    selected = range(len(times))
    kept = set(found.keep(1, selected).tolist())
    left_out = set(selected) - kept
    seconds = found.duration(1, selected)
    assert len(kept) <= (enough or len(times))
    assert all(times[c] <= seconds <= deadline for c in kept)
    for client in left_out:
        is_late = times[client] > deadline
        assert is_late or len(kept) == enough
        assert is_late or times[client] >= max(times[k] for k in kept)
    if not left_out:
        assert seconds == max(times, default=0.0)
