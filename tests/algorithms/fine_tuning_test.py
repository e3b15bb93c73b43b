"""Fine-tuning is plain SGD of each client, from where it begins."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.algorithms.local_rule_test import BATCHING, RATE, SIZES, parts
from tests.reference.fedavg import client_update
from tff_cnn import runtime
from tff_cnn.algorithms import fine_tuning

__all__ = ["parts"]  # A fixture.


def sgd(weights, examples):
    """By NumPy, in batches in the examples' order."""
    return client_update(
        [np.array(w, float) for w in weights],
        examples.images / 16,
        examples.labels,
        BATCHING.epochs,
        BATCHING.batch_size,
        RATE,
    )


@pytest.fixture(scope="module")
def examples(digits):
    starts = np.cumsum((0, *SIZES))
    return [
        digits.train.take(np.arange(a, b))
        for a, b in itertools.pairwise(starts)
    ]


def test_each_client_ends_where_sgd_alone_would(parts, examples):
    rng = np.random.default_rng(0)
    starts = [
        [rng.normal(0, 0.1, np.shape(w)).astype("f4") for w in weights]
        for weights in [parts.model.initial_weights[0]] * len(SIZES)
    ]
    seed = np.array([1, 2], np.int64)
    data = [BATCHING.client_data(found, seed) for found in examples]
    with runtime.use("in_process", clients_per_step=4):
        fine_tune = fine_tuning.build_fine_tuning(parts)
        found = fine_tune(starts, data)
        assert runtime.current().schedule.last_size > 1
    for trained, start, own in zip(found, starts, examples, strict=True):
        for value, expected in zip(trained, sgd(start, own), strict=True):
            np.testing.assert_allclose(value, expected, atol=1e-5)
    np.testing.assert_array_equal(found[2][0], starts[2][0])  # No examples.


def test_the_native_runtime_does_the_same(parts, examples, native_runtime):
    start = [np.array(w) for w in parts.model.initial_weights[0]]
    seed = np.array([1, 2], np.int64)
    data = [BATCHING.client_data(found, seed) for found in examples[:2]]
    found = fine_tuning.build_fine_tuning(parts)([start] * 2, data)
    for trained, own in zip(found, examples, strict=False):
        for value, expected in zip(trained, sgd(start, own), strict=True):
            np.testing.assert_allclose(value, expected, atol=1e-5)


def test_what_does_not_stay_finite_stays_where_it_was(parts, examples):
    start = [np.array(w) for w in parts.model.initial_weights[0]]
    broken = [start[0], np.full_like(start[1], np.nan)]
    data = [BATCHING.client_data(examples[1], np.array([1, 2], np.int64))]
    with runtime.use("in_process", clients_per_step=1):
        fine_tune = fine_tuning.build_fine_tuning(parts)
        (found,) = fine_tune([broken], data)
    np.testing.assert_array_equal(found[0], start[0])
    assert tf.reduce_all(tf.math.is_nan(found[1]))
