"""Every runtime gives what TFF's own worker gives.

The computations are TFF's and ours; each runs once on every runtime. Exact
where arithmetic is, 1e-5 for trained weights.
"""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn import runtime
from tff_cnn.aggregators import private
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.runtime import RUNTIMES

REFERENCE = "native"
OTHERS = [name for name in RUNTIMES if name != REFERENCE]

SPEC = collections.OrderedDict(
    x=tf.TensorSpec([None, 4], tf.float32), y=tf.TensorSpec([None], tf.int32)
)
ALGORITHMS = tff.learning.algorithms
SGD = tff.learning.optimizers.build_sgdm(0.1)
MOMENTUM = tff.learning.optimizers.build_sgdm(1.0, 0.9)
AT_CLIENTS = functools.partial(tff.FederatedType, placement=tff.CLIENTS)
AT_SERVER = functools.partial(tff.FederatedType, placement=tff.SERVER)

CASES = {}


def case(function):
    """Registers () -> nested arrays as a case."""
    CASES[function.__name__] = function
    return function


def process_case(name, build, data=None, rounds=3):
    """Registers `rounds` rounds of a process."""

    def run():
        process = build()
        state = process.initialize()
        metrics = []
        for _ in range(rounds):
            output = process.next(state, (data or batched_clients)())
            state = output.state
            metrics.append(output.metrics)
        return metrics, state

    CASES[name] = run


def batched_clients():
    """Three clients with ordinary data sets of several ragged batches."""
    clients = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        examples = collections.OrderedDict(
            x=rng.random((5 + seed, 4)).astype(np.float32),
            y=rng.integers(0, 3, 5 + seed).astype(np.int32),
        )
        clients.append(tf.data.Dataset.from_tensor_slices(examples).batch(3))
    return clients


def keras_model():
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((4,)),
            tf.keras.layers.Dense(3, kernel_initializer="zeros"),
        ]
    )


def variable_model():
    return tff.learning.models.from_keras_model(
        keras_model(),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        input_spec=SPEC,
        metrics=[tf.keras.metrics.SparseCategoricalAccuracy()],
    )


def functional_model():
    return tff.learning.models.functional_model_from_keras(
        keras_model,
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        tuple(SPEC.values()),
    )


def weighted(aggregator=None, model=variable_model, optimizer=MOMENTUM):
    return ALGORITHMS.build_weighted_fed_avg(
        model() if model is functional_model else model,
        SGD,
        optimizer,
        model_aggregator=aggregator() if aggregator else None,
    )


def unweighted(aggregator):
    return ALGORITHMS.build_unweighted_fed_avg(
        variable_model, SGD, model_aggregator=aggregator()
    )


def tree_aggregation():
    specs = [tf.TensorSpec((4, 3)), tf.TensorSpec((3,))]
    return tff.aggregators.DifferentiallyPrivateFactory.tree_aggregation(
        0.5, 3.0, 1.0, specs, noise_seed=3
    )


def fixed_clip():
    # The noise is random: small enough to compare.
    return tff.aggregators.DifferentiallyPrivateFactory.gaussian_fixed(
        1e-7, 3.0, 0.1
    )


def tuples():
    return [c.map(lambda b: (b["x"], b["y"])) for c in batched_clients()]


def features():
    return [c.unbatch().map(lambda b: b["x"]) for c in batched_clients()]


process_case("weighted_fed_avg", weighted)
process_case(
    "functional_fed_avg", lambda: weighted(model=functional_model), tuples
)
process_case(
    "adam_at_the_server",
    lambda: weighted(optimizer=tff.learning.optimizers.build_adam(0.01)),
)
process_case(
    "fed_prox",
    lambda: ALGORITHMS.build_weighted_fed_prox(variable_model, 0.1, SGD),
)
process_case("fed_sgd", lambda: ALGORITHMS.build_fed_sgd(variable_model))
process_case(
    "mime_lite",
    lambda: ALGORITHMS.build_weighted_mime_lite(
        variable_model, tff.learning.optimizers.build_sgdm(0.1, 0.9)
    ),
)
process_case("fed_eval", lambda: ALGORITHMS.build_fed_eval(variable_model))
process_case(
    "k_means",
    lambda: ALGORITHMS.build_fed_kmeans(3, (4,), random_seed=(1, 2)),
    features,
)
process_case("robust", lambda: weighted(tff.learning.robust_aggregator))
process_case(
    "compression", lambda: weighted(tff.learning.compression_aggregator)
)
process_case("fixed_clip", lambda: unweighted(fixed_clip))
process_case("tree_aggregation", lambda: unweighted(tree_aggregation))


@tff.tensorflow.computation
def zero():
    return 0


@tff.tensorflow.computation(np.int32, np.int32)
def add(a, b):
    return a + b


@tff.tensorflow.computation(np.int32)
def ten_times(a):
    return a * 10


@case
def reductions():
    @tff.federated_computation(AT_CLIENTS(np.int32), AT_SERVER(np.int32))
    def compute(x, y):
        return (
            tff.federated_sum(x),
            tff.federated_max(x),
            tff.federated_min(x),
            tff.federated_sum(tff.federated_broadcast(y)),
        )

    return compute([5, -7, 3], 4), compute([1], 2)


@case
def sums_wrap_around():
    @tff.federated_computation(AT_CLIENTS(np.int32))
    def compute(x):
        return tff.federated_sum(x)

    return compute([2**31 - 1, 1]), compute([])


@case
def means():
    @tff.federated_computation(AT_CLIENTS(np.float32))
    def compute(x):
        return tff.federated_mean(x), tff.federated_mean(x, x)

    return compute([1.0, 2.0, 4.0])


@case
def aggregate():
    @tff.federated_computation(AT_CLIENTS(np.int32))
    def compute(x):
        return tff.federated_aggregate(x, zero(), add, add, ten_times)

    return compute([1, 2, 3]), compute([])


@case
def results_at_clients():
    @tff.federated_computation(AT_CLIENTS(np.int32), AT_SERVER(np.int32))
    def compute(x, y):
        there = tff.federated_broadcast(y)
        return tff.federated_map(add, (x, there)), x, there

    return compute([1, 2, 3], 10)


@case
def a_result_of_clients_used_before_and_after_a_sum():
    @tff.federated_computation(AT_CLIENTS(np.int32))
    def compute(x):
        local = tff.federated_map(ten_times, x)
        total = tff.federated_broadcast(tff.federated_sum(local))
        return tff.federated_sum(tff.federated_map(add, (local, total)))

    return compute([1, 2, 3])


@case
def select():
    @tff.tensorflow.computation(tff.TensorType(np.float32, (5, 2)), np.int32)
    def row(values, key):
        return tf.gather(values, key)

    @tff.tensorflow.computation(
        tff.SequenceType(tff.TensorType(np.float32, (2,)))
    )
    def total(rows):
        return rows.reduce(tf.zeros([2]), tf.add)

    @tff.federated_computation(
        AT_CLIENTS(tff.TensorType(np.int32, (3,))),
        AT_SERVER(np.int32),
        AT_SERVER(tff.TensorType(np.float32, (5, 2))),
    )
    def compute(keys, largest, values):
        rows = tff.federated_select(keys, largest, values, row)
        return tff.federated_map(total, rows)

    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    keys = [np.int32([0, 1, 2]), np.int32([4, 4, 4])]
    return compute(keys, 5, values)


@case
def evaluation_at_the_server():
    @tff.federated_computation
    def compute():
        return tff.federated_eval(zero, tff.SERVER)

    return compute()


@case
def plain_tensorflow():
    @tff.tensorflow.computation(np.float32, np.float32)
    def compute(a, b):
        return collections.OrderedDict(sum=a + b, both=(a, [b, a * b]))

    return compute(1.5, -2.0)


@case
def sequences():
    @tff.tensorflow.computation(tff.SequenceType(np.int32))
    def total(numbers):
        return numbers.reduce(0, tf.add)

    as_dataset = tf.data.Dataset.range(5).map(lambda n: tf.cast(n, tf.int32))
    return total([1, 2, 3]), total(as_dataset), total([])


@case
def strings():
    @tff.tensorflow.computation(np.str_)
    def shout(text):
        return tf.strings.join([text, "!"])

    return shout("federated")


@pytest.fixture(scope="module")
def results():
    """Runtime and case -> result, computed when first asked for."""
    found = {}

    def result(name, runtime_name):
        key = (name, runtime_name)
        if key not in found:
            with runtime.use(runtime_name):
                found[key] = CASES[name]()
        return found[key]

    return result


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(name, other, results):
    expected, found = results(name, REFERENCE), results(name, other)
    tf.nest.assert_same_structure(expected, found)
    for a, b in zip(
        tf.nest.flatten(expected), tf.nest.flatten(found), strict=True
    ):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("other", RUNTIMES)
def test_two_runs_give_identical_bits(other):
    digests = []
    for _ in range(2):
        with runtime.use(other):
            _, state = CASES["weighted_fed_avg"]()
        digests.append(
            [np.asarray(leaf).tobytes() for leaf in tf.nest.flatten(state)]
        )
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", RUNTIMES)
def test_wrong_arguments_are_type_errors(name):
    with runtime.use(name), pytest.raises(TypeError):
        add("one", 2)


@pytest.mark.parametrize("name", RUNTIMES)
def test_private_noise_is_fresh_in_every_round_and_process(name):
    mechanism = FixedClipGaussian(2.0, 1.5, 20.0, "poisson", 0.5)
    releases = []
    for _ in range(2):
        process = private.build(mechanism).create(
            tff.TensorType(np.float32, (5000,))
        )
        with runtime.use(name):
            state = process.initialize()
            for _ in range(2):
                output = process.next(state, [])
                state = output.state
                releases.append(output.result)
    assert np.std(releases) == pytest.approx(mechanism.noise_stddev, rel=0.05)
    correlations = np.corrcoef(releases) - np.eye(4)
    assert np.abs(correlations).max() < 0.08  # 5.6 standard deviations
