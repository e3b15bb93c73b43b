import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn import runtime
from tff_cnn.aggregators.collected import CollectedFactory
from tff_cnn.config import RunConfig

FLOAT = tff.TensorType(np.float32)
TYPE = tff.to_type(
    collections.OrderedDict(a=tff.TensorType(np.float32, (2,)), b=FLOAT)
)


@pytest.fixture(scope="module", params=["native", "in_process"])
def context(request, native_worker):
    if request.param == "native":
        tff.framework.set_default_context(native_worker)
        yield
    else:
        options = RunConfig(runtime=request.param).runtime.opening()
        with runtime.use(request.param, **options):
            yield


@pytest.fixture(scope="module")
def aggregate(context):
    """Runs a factory that tells all it gets, the largest entries apart."""

    def reduce(cohort):
        a, b = cohort.coordinatewise(lambda block: tf.reduce_max(block, 0))
        return a, b + tf.reduce_sum(cohort.weights)

    process = CollectedFactory(reduce).create(TYPE, FLOAT)

    def aggregate(values, weights):
        updates = [
            collections.OrderedDict(a=np.float32(a), b=np.float32(b))
            for a, b in values
        ]
        weights = list(map(np.float32, weights))
        output = process.next(process.initialize(), updates, weights)
        return list(output.result["a"]), output.result["b"]

    return aggregate


def test_all_updates_are_seen_at_once(aggregate):
    values = [([1, -5], -3), ([0, 7], -4), ([-2, 6], -9)]
    assert aggregate(values, [1, 2, 0.5]) == ([1, 7], 0.5)


def test_clients_of_weight_zero_are_left_out(aggregate):
    values = [([-1, -5], -3), ([0, 0], 0), ([-2, -6], -9)]
    assert aggregate(values, [1, 0, 1]) == ([-1, -5], -1)


def test_nobody_who_counts_is_zero(aggregate):
    assert aggregate([], []) == ([0, 0], 0)
    assert aggregate([([0, 0], 0)] * 2, [0, 0]) == ([0, 0], 0)


def test_clients_that_are_not_finite_are_left_out(aggregate):
    values = [([-1, -5], -3), ([np.nan, 0], 0), ([0, 0], np.inf), ([0, 0], 0)]
    assert aggregate(values, [1, 1, 1, np.nan]) == ([-1, -5], -2)
    assert aggregate(values, [1, 1, 1, -1]) == ([-1, -5], -2)
    assert aggregate(values[1:3], [1, 1]) == ([0, 0], 0)
