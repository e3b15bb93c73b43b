import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings, strategies

from tests.aggregators.attacked import (
    HUGE,
    aggregate,
    cohorts,
    mixed,
    seeded,
)
from tests.reference import robust
from tff_cnn.aggregators.geometric_median import build_geometric_median


@pytest.mark.parametrize("steps", [1, 3])
def test_it_is_the_references(steps):
    updates, weights = seeded(6), [1, 5, 2, 2, 3, 1]
    found = aggregate(build_geometric_median(steps, 0.5), updates, weights)
    expected = robust.geometric_median(updates, weights, 0.5, steps)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_many_steps_end_at_the_nearest_point_to_all():
    updates, weights = seeded(7, 3), np.arange(1.0, 8.0)
    found = aggregate(build_geometric_median(60, 1e-6), updates, weights)
    best = scipy.optimize.minimize(
        lambda v: robust.distance_sum(updates, weights, v),
        np.zeros(3),
        tol=1e-10,
    )
    np.testing.assert_allclose(found, best.x, atol=1e-4)


def test_on_a_line_it_is_the_weighted_median():
    rule = build_geometric_median(20, 1e-9)
    assert aggregate(rule, [[1], [2], [9]]) == pytest.approx([2], abs=1e-2)
    found = aggregate(rule, [[1], [2], [9]], [1, 1, 9])
    assert found == pytest.approx([9], abs=1e-2)


def bound_of(honest, weights, others, smoothing):
    """Of the docstring, for weights that need not add up to 1."""
    lengths = np.linalg.norm(honest, axis=1)
    total = np.sum(weights) + np.sum(others)
    return (2 * np.dot(weights, lengths) + smoothing * total / 2) / (
        np.sum(weights) - np.sum(others)
    )


@settings(max_examples=30, deadline=None)
@given(cohorts(lambda n: (n - 1) // 2), strategies.integers(1, 6))
def test_less_than_half_of_the_weight_moves_it_a_bounded_way(found, steps):
    honest, bad = found
    rule = build_geometric_median(steps, 1e-6)
    length = np.linalg.norm(
        aggregate(rule, mixed(honest, bad)).astype(np.float64)
    )
    bound = bound_of(honest, np.ones(len(honest)), np.ones(len(bad)), 1e-6)
    assert length <= bound * 1.0001 + 1e-6


def test_it_is_weight_that_counts():
    updates = [[1.0], [1.0], [1.0], [HUGE]]
    rule = build_geometric_median(10, 1e-6)
    assert aggregate(rule, updates, [1, 1, 1, 2]) < 5
    # Half of the weight or more takes it where it wants.
    rule = build_geometric_median(40, 1e-6)
    assert aggregate(rule, updates, [1, 1, 1, 30]) > 1e24


def test_all_numbers_that_float32_has_are_measured():
    largest = float(np.finfo(np.float32).max)
    updates = np.array([[1.0, 2.0]] * 3 + [[largest, -largest]])
    found = aggregate(build_geometric_median(20, 1e-6), updates)
    np.testing.assert_allclose(found, [1, 2], atol=1e-3)
