import numpy as np
import pytest
from hypothesis import given, settings

from tests.aggregators.attacked import (
    HUGE,
    aggregate,
    cohort_of,
    cohorts,
    mixed,
    seeded,
)
from tests.reference import robust
from tff_cnn.aggregators.krum import (
    build_bulyan,
    build_krum,
    build_multi_krum,
    squared_distances,
)

FEW = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize(("n", "attackers"), [(5, 1), (8, 2), (9, 0)])
@pytest.mark.parametrize("seed", range(3))
def test_krum_is_the_references(n, attackers, seed):
    updates = seeded(n, seed=seed)
    np.testing.assert_array_equal(
        aggregate(build_krum(attackers), updates),
        robust.krum(updates, attackers),
    )


@pytest.mark.parametrize(
    ("n", "attackers", "selected"), [(5, 1, 2), (8, 2, None), (9, 0, 1)]
)
def test_multi_krum_is_the_references(n, attackers, selected):
    updates = seeded(n)
    np.testing.assert_allclose(
        aggregate(build_multi_krum(attackers, selected), updates),
        robust.multi_krum(updates, attackers, selected or n - attackers),
        rtol=1e-5,
    )


@pytest.mark.parametrize(("n", "attackers"), [(7, 1), (12, 2), (13, 2), (4, 0)])
@pytest.mark.parametrize("seed", range(3))
def test_bulyan_is_the_references(n, attackers, seed):
    updates = seeded(n, seed=seed)
    np.testing.assert_allclose(
        aggregate(build_bulyan(attackers), updates),
        robust.bulyan(updates, attackers),
        rtol=1e-5,
        atol=1e-6,
    )


def test_distances():
    updates = np.array([[0.0, 0.0], [3.0, 4.0], [HUGE, 0.0]])
    found = squared_distances(cohort_of(updates)).numpy()
    expected = [[np.inf, 25, 1e50], [25, np.inf, 1e50], [1e50, 1e50, np.inf]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_all_from_one_client_to_nine_make_an_update():
    for n in range(1, 10):
        updates = seeded(n) + 10
        for rule in (
            build_krum(None),
            build_krum(0),
            build_multi_krum(None, None),
            build_multi_krum(None, 3),
            build_bulyan(None),
            build_bulyan(0),
        ):
            found = aggregate(rule, updates)
            assert np.all(found >= updates.min(0) - 1e-5)
            assert np.all(found <= updates.max(0) + 1e-5)


@pytest.mark.parametrize(
    ("rule", "least"),
    [
        (build_krum(2), 7),
        (build_multi_krum(2, None), 7),
        (build_bulyan(2), 11),
    ],
)
def test_a_round_of_too_few_makes_no_update(rule, least):
    assert not aggregate(rule, seeded(least - 1) + 10).any()
    assert not aggregate(rule, seeded(1) + 10).any()
    assert np.all(aggregate(rule, seeded(least) + 10) > 5)


def test_without_a_number_it_is_the_largest_that_a_round_allows():
    for n, attackers in ((4, 0), (5, 1), (7, 2), (8, 2), (11, 4)):
        updates = seeded(n, seed=n)
        np.testing.assert_array_equal(
            aggregate(build_krum(None), updates),
            aggregate(build_krum(attackers), updates),
        )
        np.testing.assert_array_equal(
            aggregate(build_multi_krum(None, None), updates),
            aggregate(build_multi_krum(attackers, None), updates),
        )
    for n, attackers in ((6, 0), (7, 1), (10, 1), (11, 2)):
        updates = seeded(n, seed=n)
        np.testing.assert_array_equal(
            aggregate(build_bulyan(None), updates),
            aggregate(build_bulyan(attackers), updates),
        )


def diameter(honest) -> float:
    return np.linalg.norm(honest[:, None] - honest[None], axis=2).max()


@FEW
@given(cohorts(lambda n: max((n - 3) // 2, 0)))
def test_what_krum_takes_is_near_an_honest_update(found):
    honest, bad = found
    n, attackers = len(honest) + len(bad), len(bad)
    updates = mixed(honest, bad)
    bound = max(n - attackers - 2, 1) ** 0.5 * diameter(honest)
    bound += 1e-5 * np.abs(honest).max()
    krum = aggregate(build_krum(attackers), updates)
    assert np.linalg.norm(honest - krum, axis=1).min() <= bound
    # Of a mean of such that of each from one of the honest.
    mean = aggregate(build_multi_krum(attackers, None), updates)
    centre = honest.mean(0)
    assert np.linalg.norm(mean - centre) <= bound + diameter(honest)


@FEW
@given(cohorts(lambda n: max((n - 3) // 4, 0)))
def test_bulyan_stays_around_the_honest_in_each_coordinate(found):
    honest, bad = found
    update = aggregate(build_bulyan(len(bad)), mixed(honest, bad))
    low, high = honest.min(0), honest.max(0)
    slack = 1e-5 * np.abs(honest).max()
    assert np.all(update >= low - (high - low) - slack)
    assert np.all(update <= high + (high - low) + slack)


@pytest.mark.parametrize(
    ("rule", "n", "attackers"),
    [
        (build_krum(2), 7, 5),
        (build_multi_krum(2, None), 7, 3),
        (build_bulyan(2), 11, 6),
    ],
)
def test_more_than_half_take_it_anywhere(rule, n, attackers):
    bad = np.full([attackers, 4], HUGE)
    found = aggregate(rule, mixed(seeded(n - attackers), bad))
    assert found.max() > 1e24
