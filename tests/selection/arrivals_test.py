"""The order in which updates arrive: by hand, and as a rule."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.selection.arrivals import Arrivals, Clock, ServerStep

SPEEDS = (1.0, 2.0, 5.0)


def arrivals(num_clients=3, buffer_size=2, concurrency=3, **options):
    options = {"seconds": lambda client, _: SPEEDS[client], **options}
    options.setdefault("seed", 0)
    return Arrivals(num_clients, buffer_size, concurrency, **options)


def steps(count, *given, **options) -> list[ServerStep]:
    return list(itertools.islice(arrivals(*given, **options).steps(), count))


def arrived(step) -> set:
    return set(zip(step.clients, step.versions, strict=True))


def test_three_clients_by_hand():
    """All are at work at once; a step is made of two updates.

    t=0  0, 1 and 2 begin with w0
    t=1  0 comes, and has to wait: nobody else is idle
    t=2  1 comes: w1; both begin again
    t=3  0 comes
    t=4  1 comes: w2; both begin again
    t=5  2 comes, which began first, and 0: w3 of w0 and w2; both begin again
    t=6  1 comes, then 0: w4 of w2 and w3; both begin again
    t=7  0 comes
    t=8  1 comes: w5; 2 is at work on w3
    """
    found = steps(5)
    assert [step.time for step in found] == [2, 4, 5, 6, 8]
    assert [step.seconds for step in found] == [2, 2, 1, 1, 2]
    assert [arrived(step) for step in found] == [
        {(0, 0), (1, 0)},
        {(0, 1), (1, 1)},
        {(2, 0), (0, 2)},
        {(1, 2), (0, 3)},
        {(0, 4), (1, 4)},
    ]
    assert found[0].clients == (0, 1) and found[2].clients == (2, 0)
    assert found[2].staleness == (2, 0) and found[3].staleness == (1, 0)
    assert [step.in_flight for step in found] == [
        (0, 1),
        (0, 2),
        (2, 3),
        (3, 4),
        (3, 5),
    ]
    assert [step.num_started for step in found] == [3, 2, 2, 2, 2]


def test_a_place_is_taken_at_once_by_a_client_that_is_idle():
    """Two of three at work, one update a step."""
    first, second, third = steps(3, 3, 1, 2, seed=1)
    begun = {*first.clients, *second.clients}
    assert first.time == min(SPEEDS[c] for c in begun | {*third.clients})
    assert [s.num_started for s in (first, second, third)] == [2, 1, 1]
    assert second.staleness in ((0,), (1,))


def test_updates_that_are_too_stale_are_dropped_and_counted():
    found = steps(4, max_staleness=1)
    # Client 2 comes at t=5, two steps behind, and begins again at once.
    assert [step.num_dropped for step in found] == [0, 0, 1, 0]
    assert arrived(found[2]) == {(0, 2), (1, 2)} and found[2].time == 6
    # What it began with is not kept once nobody wants it.
    assert [step.in_flight for step in found] == [(0, 1), (2,), (2, 3), (4,)]
    assert found[2].num_started == 3


def test_equally_fast_clients_are_cohorts():
    found = steps(20, 30, 6, 6, seconds=lambda client, number: 2.0)
    for number, step in enumerate(found, 1):
        assert step.time == 2.0 * number
        assert step.versions == (number - 1,) * 6
        assert step.in_flight == (number,)
        assert len({*step.clients}) == 6
    # Each is drawn from all: 120 draws of 30 leave few of them out.
    everybody = set(itertools.chain(*(step.clients for step in found)))
    assert len(everybody) > 25


def test_all_clients_at_once_are_full_participation():
    for step in steps(5, 4, 4, 4, seconds=lambda client, number: 1.0):
        assert sorted(step.clients) == [0, 1, 2, 3]
        assert set(step.staleness) == {0}


def test_idle_clients_are_drawn_alike():
    found = steps(6000, 5, 1, 2, seconds=lambda client, number: 1.0)
    counts = [0] * 5
    for step in found:
        counts[step.clients[0]] += 1
    # Two of five at a time: each 1,200 times. 5 standard deviations are 134,
    # or less, as a client that was drawn is not drawn again at once.
    assert all(abs(count - 1200) < 134 for count in counts)


def test_the_seed_decides_who_begins():
    found = [steps(3, 40, 4, 8, seed=seed, seconds=varied) for seed in (0, 1)]
    assert found[0] != found[1]
    assert found[0] == steps(3, 40, 4, 8, seed=0, seconds=varied)


def varied(client, number):
    return 1.0 + (client * 7 + number * 3) % 11


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_of_any_arrivals(data):
    num_clients = data.draw(st.integers(1, 12))
    buffer_size = data.draw(st.integers(1, num_clients))
    concurrency = data.draw(st.integers(1, num_clients))
    limit = data.draw(st.one_of(st.none(), st.integers(0, 3)))
    times = data.draw(
        st.lists(
            st.sampled_from((0.0, 0.1, 0.3, 1.0, 2.0, 40.0)),
            min_size=num_clients,
            max_size=num_clients,
        )
    )
    found = steps(
        25,
        num_clients,
        buffer_size,
        concurrency,
        seconds=lambda client, number: times[client],
        max_staleness=limit,
        seed=data.draw(st.integers(0, 9)),
    )
    begun = set()
    held = {0}
    for number, step in enumerate(found, 1):
        assert step.number == number
        assert len({*step.clients}) == len(step.clients) == buffer_size
        # What a client begins with it begins with once, and is kept for it.
        assert not begun & arrived(step)
        begun |= arrived(step)
        assert {*step.versions} <= held
        held = {*step.in_flight}
        assert held <= {*range(number + 1)} and number in held
        assert len(held) <= concurrency + 1
        assert all(0 <= s <= (limit or 25) for s in step.staleness)
        if limit == 0:
            assert not any(step.staleness)
    assert [s.time for s in found] == sorted(s.time for s in found)
    started = sum(step.num_started for step in found)
    come = sum(len(s.clients) + s.num_dropped for s in found)
    assert 0 <= started - come <= concurrency


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2, 2), (7, 7, 1, 8)])
def test_a_clock_tells_any_step_in_any_order(order):
    expected = steps(8)
    clock = Clock(arrivals())
    for number in order:
        assert clock.step(number) == expected[number - 1]
