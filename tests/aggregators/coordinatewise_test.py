import numpy as np
import pytest
from hypothesis import given, settings

from tests.aggregators.attacked import (
    HUGE,
    aggregate,
    cohorts,
    mixed,
    seeded,
)
from tests.reference import robust
from tff_cnn.aggregators.coordinatewise import (
    build_median,
    build_trimmed_mean,
)

# Each example runs a few dozen operations.
FEW = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_median_is_the_references(n):
    updates = seeded(n)
    np.testing.assert_allclose(
        aggregate(build_median(), updates), robust.median(updates), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("n", "fraction", "trimmed"),
    [(5, 0, 0), (5, 0.2, 1), (8, 0.2, 1), (10, 0.3, 3), (3, 0.499, 1)],
)
def test_the_trimmed_mean_is_the_references(n, fraction, trimmed):
    updates = seeded(n)
    np.testing.assert_allclose(
        aggregate(build_trimmed_mean(fraction), updates),
        robust.trimmed_mean(updates, trimmed),
        rtol=1e-5,
    )


def test_by_hand():
    updates = [[1.0, -9.0], [2.0, 8.0], [3.0, 7.0], [100.0, 6.0]]
    assert aggregate(build_median(), updates).tolist() == [2.5, 6.5]
    trimmed = aggregate(build_trimmed_mean(0.25), updates)
    assert trimmed.tolist() == [2.5, 6.5]
    trimmed = aggregate(build_trimmed_mean(0.24), updates)
    assert trimmed.tolist() == [26.5, 3.0]


def test_of_each_side_as_many_are_left_out_as_the_product_says():
    # 0.29 * 100 is 28.999999999999996 in floats.
    updates = np.zeros([100, 1])
    updates[:29] = HUGE
    assert aggregate(build_trimmed_mean(0.29), updates) == [0]
    updates[29] = 1.0
    assert aggregate(build_trimmed_mean(0.29), updates) == pytest.approx(1 / 42)


@pytest.mark.parametrize("seed", range(4))
def test_values_that_many_clients_have_count_as_often(seed):
    updates = np.random.default_rng(seed).integers(0, 3, [11, 20])
    np.testing.assert_allclose(
        aggregate(build_trimmed_mean(0.3), updates),
        robust.trimmed_mean(updates, 3),
        rtol=1e-6,
    )


def test_two_of_the_largest_numbers_have_a_median():
    largest = float(np.finfo(np.float32).max)
    assert aggregate(build_median(), [[largest]] * 2) == [largest]


def assert_within(found, honest):
    # What is smaller than any normal number TensorFlow takes for zero.
    slack = 1e-5 * np.abs(honest).max() + 1e-37
    assert np.all(found >= honest.min(0) - slack)
    assert np.all(found <= honest.max(0) + slack)


@FEW
@given(cohorts(lambda n: (n - 1) // 2))
def test_fewer_than_half_do_not_move_a_median_beyond_the_others(found):
    honest, bad = found
    assert_within(aggregate(build_median(), mixed(honest, bad)), honest)


@FEW
@given(cohorts(lambda n: int(0.3 * n)))
def test_a_share_of_beta_does_not_move_a_trimmed_mean_either(found):
    honest, bad = found
    rule = build_trimmed_mean(0.3)
    assert_within(aggregate(rule, mixed(honest, bad)), honest)


@pytest.mark.parametrize(
    ("rule", "attackers"), [(build_median(), 3), (build_trimmed_mean(0.2), 2)]
)
def test_one_more_moves_them_anywhere(rule, attackers):
    n = 6
    bad = np.full([attackers, 4], HUGE)
    assert aggregate(rule, mixed(seeded(n - attackers), bad)).max() > 1e24
    fewer = mixed(seeded(n - attackers + 1), bad[1:])
    assert np.abs(aggregate(rule, fewer)).max() < 5
