import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.attacked import cohort_of
from tff_cnn.aggregators import cohort as cohort_module
from tff_cnn.aggregators.cohort import weighted_mean

LEAVES = [
    np.arange(5 * 6, dtype=np.float32).reshape(5, 3, 2),
    np.arange(5, dtype=np.float32),
]
COUNTS = [True, False, True, True, False]


@pytest.mark.parametrize("block", [1, 7, 2**22])
def test_a_coordinate_is_reduced_over_those_that_count(monkeypatch, block):
    monkeypatch.setattr(cohort_module, "_BLOCK", block)
    cohort = cohort_of(*LEAVES, counts=COUNTS)
    assert cohort.num_clients.numpy() == 3
    found = cohort.coordinatewise(lambda values: tf.reduce_max(values, 0))
    for leaf, one in zip(found, LEAVES, strict=True):
        np.testing.assert_array_equal(leaf, one[COUNTS].max(0))


@pytest.mark.parametrize("block", [1, 7, 2**22])
def test_totals_go_over_all_blocks_of_all_leaves(monkeypatch, block):
    monkeypatch.setattr(cohort_module, "_BLOCK", block)
    cohort = cohort_of(*LEAVES, counts=COUNTS)
    found = cohort.total(lambda values: tf.reduce_sum(values, 1), tf.zeros([3]))
    expected = sum(leaf[COUNTS].reshape(3, -1).sum(1) for leaf in LEAVES)
    np.testing.assert_array_equal(found, expected)


def test_a_block_is_no_larger_than_said(monkeypatch):
    monkeypatch.setattr(cohort_module, "_BLOCK", 7)
    sizes = []

    def reduce(values):
        sizes.append(tuple(values.shape))
        return values[0]

    cohort_of(*LEAVES, counts=COUNTS).coordinatewise(reduce)
    # 7 // 3 coordinates of 3 clients.
    assert sizes == [(3, 2)] * 3 + [(3, 1)]


def test_weighted_means_are_of_the_shape_of_an_update():
    weights = tf.constant([0.5, 0.25, 0.25], tf.float64)
    found = weighted_mean(cohort_of(*LEAVES, counts=COUNTS), weights)
    for leaf, one in zip(found, LEAVES, strict=True):
        expected = np.tensordot([0.5, 0.25, 0.25], one[COUNTS], 1)
        np.testing.assert_allclose(leaf, expected)
