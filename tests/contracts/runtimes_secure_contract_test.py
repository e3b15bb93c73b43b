"""What TFF's worker cannot run, compared with what it must give.

The worker knows no secure sums ("Cannot embed a federated value"), and mixes
up or refuses some sequences. Runtimes other than it compute secure sums as
plain sums, so results are compared with plain ones, or with NumPy, within what
quantization and noise allow.
"""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.contracts.runtimes.cases import (
    AT_CLIENTS,
    AT_SERVER,
    PAIR,
    SGD,
    batched_clients,
    pairs,
    variable_model,
)
from tests.contracts.runtimes.computations import add, selection, ten_times
from tff_cnn import runtime
from tff_cnn.runtime import RUNTIMES

OTHERS = [name for name in RUNTIMES if name != "native"]
AGGREGATORS = tff.aggregators


@pytest.fixture(params=OTHERS, autouse=True)
def opened(request):
    with runtime.use(request.param):
        yield


def aggregate(factory, values=None, *arguments, type_=PAIR, rounds=1):
    """Results of rounds of an aggregator."""
    types = [type_] + [tff.TensorType(np.float32) for _ in arguments]
    process = factory.create(*types)
    state, results = process.initialize(), []
    for _ in range(rounds):
        output = process.next(state, values or pairs(), *arguments)
        state = output.state
        results.append(output.result)
    return results


def assert_close(found, expected, atol):
    tf.nest.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol),
        found,
        expected,
    )


def total(values):
    return tf.nest.map_structure(lambda *arrays: np.sum(arrays, 0), *values)


def test_secure_intrinsics_are_sums():
    @tff.federated_computation(AT_CLIENTS(np.int32))
    def compute(x):
        return (
            tff.federated_secure_sum(x, 100),
            tff.federated_secure_sum_bitwidth(x, 8),
        )

    assert tuple(compute([1, 2, 3])) == (6, 6)
    assert tuple(compute([])) == (0, 0)


def test_a_modular_sum_wraps_around():
    type_ = tff.TensorType(np.int32, (2,))
    values = [np.int32([3, 5]), np.int32([6, -7])]
    for symmetric, expected in ((False, [9, 8]), (True, [9, -2])):
        factory = AGGREGATORS.SecureModularSumFactory(10, symmetric)
        (found,) = aggregate(factory, values, type_=type_)
        np.testing.assert_array_equal(found, expected)


def test_a_secure_sum_of_integers_is_exact_and_clips():
    type_ = tff.TensorType(np.int32, (2,))
    factory = AGGREGATORS.SecureSumFactory(10, -10)
    values = [np.int32([3, 50]), np.int32([-4, 1])]
    np.testing.assert_array_equal(
        aggregate(factory, values, type_=type_)[0], [-1, 11]
    )


def test_a_secure_sum_of_floats_is_the_sum():
    (found,) = aggregate(AGGREGATORS.SecureSumFactory(4.0, -4.0))
    assert_close(found, total(pairs()), atol=1e-5)


def test_bounds_of_a_secure_sum_may_be_estimated():
    estimate = AGGREGATORS.PrivateQuantileEstimationProcess.no_noise(
        4.0, 0.9, 0.01
    )
    found = aggregate(AGGREGATORS.SecureSumFactory(estimate), rounds=2)
    assert_close(found[0], total(pairs()), atol=1e-5)


def test_secure_quantized_sums():
    @tff.federated_computation(
        AT_CLIENTS(np.float32), AT_SERVER(np.float32), AT_SERVER(np.float32)
    )
    def compute(x, low, high):
        return AGGREGATORS.secure_quantized_sum(x, low, high)

    found = compute([0.5, -3.0, 0.25], -1.0, 1.0)
    assert found == pytest.approx(0.5 - 1.0 + 0.25, abs=1e-5)


@pytest.mark.parametrize("weighted", [True, False])
def test_the_secure_aggregator_is_the_robust_one(weighted):
    weights = [[1.0, 2.0, 3.0, 0.5]] if weighted else []
    # The first rounds' adaptive norms are the same in both.
    found, expected = (
        aggregate(make(weighted=weighted), None, *weights, rounds=2)
        for make in (
            tff.learning.secure_aggregator,
            tff.learning.robust_aggregator,
        )
    )
    assert_close(found, expected, atol=1e-3)  # Quantized.


def test_federated_averaging_with_secure_sums():
    metrics = tff.learning.metrics
    models = []
    for aggregators in (
        {
            "model_aggregator": tff.learning.secure_aggregator(
                zeroing=False, clipping=False
            ),
            "metrics_aggregator": metrics.secure_sum_then_finalize,
        },
        {},
    ):
        process = tff.learning.algorithms.build_weighted_fed_avg(
            variable_model, SGD, **aggregators
        )
        state = process.initialize()
        for _ in range(2):
            output = process.next(state, batched_clients())
            state = output.state
        models.append(process.get_model_weights(state).trainable)
        train = output.metrics["client_work"]["train"]
        train = train.get("secure_sum_then_finalize", train)
        if aggregators:
            train = collections.OrderedDict(
                (k, v) for k, v in train.items() if k != "factory_keys"
            )
        assert train["num_examples"] == 18
        assert train["loss"] == pytest.approx(1.07, abs=0.05)
    assert_close(*models, atol=1e-4)


@pytest.mark.parametrize(
    "mechanism, rotation, adaptive",
    [
        ("distributed_skellam", "hd", True),
        ("distributed_skellam", "dft", False),
        ("distributed_dgauss", "hd", False),
        ("distributed_dgauss", "dft", True),
    ],
)
def test_distributed_privacy_without_noise_is_the_clipped_sum(
    mechanism, rotation, adaptive
):
    factory = AGGREGATORS.distributed_dp.DistributedDpSumFactory(
        noise_multiplier=0.0,
        expected_clients_per_round=4,
        bits=20,
        l2_clip=4.0,
        mechanism=mechanism,
        rotation_type=rotation,
        auto_l2_clip=adaptive,
    )
    (found,) = aggregate(factory)
    expected = []
    for value in pairs():
        norm = np.sqrt(sum(np.sum(a**2) for a in value.values()))
        factor = min(1.0, 4.0 / norm)  # One of the four is clipped.
        expected.append({k: factor * v for k, v in value.items()})
    assert_close(dict(found), total(expected), atol=1e-3)


@pytest.mark.parametrize(
    "mechanism", ["distributed_skellam", "distributed_dgauss"]
)
def test_distributed_noise_is_of_the_size_that_was_asked_for(mechanism):
    size, clip, noise_multiplier = 1000, 1.0, 2.0
    factory = AGGREGATORS.distributed_dp.DistributedDpSumFactory(
        noise_multiplier=noise_multiplier,
        expected_clients_per_round=5,
        bits=20,
        l2_clip=clip,
        mechanism=mechanism,
        rotation_type="hd",
    )
    values = [np.zeros(size, np.float32)] * 5
    first, second = aggregate(
        factory, values, type_=tff.TensorType(np.float32, (size,)), rounds=2
    )
    for noise in (first, second):
        # Five standard deviations of an estimate from a thousand.
        assert np.std(noise) == pytest.approx(noise_multiplier * clip, rel=0.12)
        assert abs(np.mean(noise)) < 0.35
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


def test_federated_averaging_with_distributed_privacy():
    # Its computations are nested more than a hundred messages deep.
    process = tff.learning.algorithms.build_unweighted_fed_avg(
        variable_model,
        SGD,
        model_aggregator=tff.learning.ddp_secure_aggregator(1e-3, 3),
    )
    state = process.initialize()
    weights = []
    for _ in range(2):
        state = process.next(state, batched_clients()).state
        weights.append(process.get_model_weights(state).trainable)
    plain = tff.learning.algorithms.build_unweighted_fed_avg(
        variable_model,
        SGD,
        model_aggregator=AGGREGATORS.clipping_factory(
            0.1, AGGREGATORS.UnweightedMeanFactory()
        ),
    )
    expected = plain.next(plain.initialize(), batched_clients()).state
    expected = plain.get_model_weights(expected).trainable
    assert_close(weights[0], expected, atol=2e-3)
    assert np.abs(weights[1][0] - weights[0][0]).max() > 1e-3


def test_secure_selection_is_selection():
    assert_close(
        selection(tff.federated_secure_select),
        selection(tff.federated_select),
        atol=0,
    )


def test_elements_that_are_selected_keep_their_names():
    @tff.tensorflow.computation(tff.TensorType(np.int32, (3,)), np.int32)
    def pick(values, key):
        # tf.data sorts names; TFF does not.
        return collections.OrderedDict(
            z=values[key], a=(tf.cast(key, tf.float32), 10 * values[key])
        )

    @tff.tensorflow.computation(tff.SequenceType(pick.type_signature.result))
    def weigh(rows):
        return rows.reduce(0, lambda n, e: n + e["z"] + 100 * e["a"][1])

    @tff.federated_computation(
        AT_CLIENTS(tff.TensorType(np.int32, (2,))),
        AT_SERVER(np.int32),
        AT_SERVER(tff.TensorType(np.int32, (3,))),
    )
    def compute(keys, largest, values):
        rows = tff.federated_select(keys, largest, values, pick)
        return tff.federated_map(weigh, rows)

    found = compute([np.int32([0, 2])], 3, np.int32([1, 2, 3]))
    assert found == [1 + 3 + 100 * (10 + 30)]


def test_intrinsics_of_sequences():
    @tff.tensorflow.computation
    def start():
        return 1000

    @tff.federated_computation(tff.SequenceType(np.int32), np.int32)
    def compute(numbers, extra):
        tens = tff.sequence_map(ten_times, numbers)
        reduced = tff.sequence_reduce(tens, add(start(), extra), add)
        return tff.sequence_sum(tens), reduced

    assert tuple(compute([1, 2, 3], 5)) == (60, 1065)
    assert tuple(compute([], 5)) == (0, 1005)


def test_intrinsics_of_sequences_at_clients():
    element = collections.OrderedDict(z=np.int32, a=np.float32)

    @tff.tensorflow.computation(element)
    def swap(e):
        return collections.OrderedDict(q=e["a"] + 0.5, b=e["z"])

    @tff.federated_computation(tff.SequenceType(element))
    def local(numbers):
        return tff.sequence_sum(tff.sequence_map(swap, numbers))

    @tff.federated_computation(AT_CLIENTS(tff.SequenceType(element)))
    def compute(x):
        return tff.federated_sum(tff.federated_map(local, x))

    def value(z, a):
        return collections.OrderedDict(z=z, a=a)

    found = compute([[value(1, 2.0), value(3, 4.0)], []])
    assert found == collections.OrderedDict(q=7.0, b=4)


def test_counting_distinct_words_securely():
    def create(**options):
        count = tff.analytics.count_distinct
        return count.create_federated_hyperloglog_computation(**options)

    words = [["a", "b", "c"], ["c", "d"]]
    assert create(use_secagg=True)(words) == create()(words)


def test_a_histogram_with_secure_sums():
    process = tff.analytics.build_hierarchical_histogram_process(
        0.0, 8.0, 4, dp_mechanism="no-noise", enable_secure_sum=True
    )
    state, _ = process.next(process.initialize(), [[1.0, 2.5], [7.5]])
    histogram = state.aggregated_hierarchical_histogram
    # The levels of the tree one after another, and where they begin.
    np.testing.assert_array_equal(
        histogram["flat_values"], [3, 2, 1, 1, 1, 0, 1]
    )
    np.testing.assert_array_equal(
        histogram["nested_row_splits"][0], [0, 1, 3, 7]
    )
