import gc
import threading
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process import client_pass, context, execution


@tff.tensorflow.computation(np.int32, np.int32)
def add(a, b):
    return a + b


@pytest.fixture
def opened():
    with context.open_runtime(threads=2) as opened:
        tff.framework.set_default_context(opened)
        yield opened


def test_a_computation_is_compiled_once(opened, monkeypatch):
    built = []
    executable = execution.Executable.__init__

    def remember(self, plan):
        built.append(plan)
        executable(self, plan)

    monkeypatch.setattr(execution.Executable, "__init__", remember)
    assert [add(1, n) for n in range(3)] == [1, 2, 3]
    assert len(built) == 1


def test_clients_lists_must_be_of_one_length(opened):
    at_clients = tff.FederatedType(np.int32, tff.CLIENTS)

    @tff.federated_computation(at_clients, at_clients)
    def compute(x, y):
        return tff.federated_sum(tff.federated_map(add, (x, y)))

    assert compute([1, 2], [3, 4]) == 10
    with pytest.raises(ValueError, match=r"lengths: \[1, 2\]"):
        compute([1], [2, 3])


def test_secure_sums_are_sums(opened):
    @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
    def compute(x):
        return (
            tff.federated_secure_sum(x, 100),
            tff.federated_secure_sum_bitwidth(x, 8),
        )

    assert tuple(compute([1, 2, 3])) == (6, 6)


PAIR = tff.to_type((np.int32, tff.TensorType(np.int64, (2,))))


@pytest.mark.parametrize(
    ("add_up", "type_", "good", "bad"),
    [
        (lambda x: tff.federated_secure_sum(x, 100), np.int32, 100, 101),
        (lambda x: tff.federated_secure_sum_bitwidth(x, 3), np.int64, 7, 8),
        (
            lambda x: tff.federated_secure_sum(x, (2, 5)),
            PAIR,
            (2, np.int64([5, 1])),
            (2, np.int64([1, 6])),
        ),
        (
            lambda x: tff.federated_secure_sum(x, 3),
            PAIR,
            (3, np.int64([3, 1])),
            (4, np.int64([3, 1])),
        ),
    ],
)
def test_secure_sums_refuse_values_above_their_maximum(
    opened, add_up, type_, good, bad
):
    compute = tff.federated_computation(
        add_up, tff.FederatedType(type_, tff.CLIENTS)
    )
    doubled = tf.nest.map_structure(lambda x: 2 * x, good)
    tf.nest.map_structure(
        np.testing.assert_array_equal, compute([good, good]), doubled
    )
    with pytest.raises(
        client_pass.ClientError, match=r"client 1 of 3.*larger than the maximum"
    ):
        compute([good, bad, good])


def test_a_maximum_may_be_a_result(opened):
    """The server computes it from a first sum."""

    @tff.tensorflow.computation(np.int32)
    def half(x):
        return x // 2

    @tff.federated_computation(tff.FederatedType(np.int32, tff.SERVER))
    def compute(x):
        return x

    @tff.federated_computation(
        tff.FederatedType(np.int32, tff.CLIENTS), np.int32
    )
    def limited(x, limit):
        return tff.federated_secure_sum(x, half(limit))

    assert compute(3) == 3 and limited([5, 4], 10) == 9
    with pytest.raises(client_pass.ClientError, match="maximum 4"):
        limited([5, 4], 9)


def test_bits_are_limited_as_in_tff(opened):
    @tff.federated_computation(tff.FederatedType(np.int64, tff.CLIENTS))
    def compute(x):
        return tff.federated_secure_sum_bitwidth(x, 62)

    @tff.federated_computation(tff.FederatedType(np.int64, tff.CLIENTS))
    def too_many(x):
        return tff.federated_secure_sum_bitwidth(x, 63)

    assert compute([2**62 - 1]) == 2**62 - 1
    with pytest.raises(client_pass.ClientError):
        compute([2**62])
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 62 bits"):
        too_many([1])


def test_compiled_computations_are_let_go_with_the_computation(opened):
    def build():
        big = np.ones(1000, np.float32)
        return tff.tensorflow.computation(
            lambda x: x * tf.reduce_sum(big), np.float32
        )

    executables = []
    for _ in range(3):
        computation = build()
        assert computation(1.0) == 1000.0
        _, executable = opened._compile(computation)
        executables.append(weakref.ref(executable))
        del executable
    gc.collect()
    assert [ref() is not None for ref in executables] == [False, False, True]
    opened.close()
    gc.collect()
    assert executables[-1]() is None and computation is not None


def test_data_given_as_lists_are_let_go(opened):
    @tff.tensorflow.computation(
        tff.SequenceType(tff.TensorType(np.float32, (None,)))
    )
    def total(data):
        return data.reduce(0.0, lambda n, row: n + tf.reduce_sum(row))

    rows = [np.ones(n, np.float32) for n in (2, 3, 3)]
    alive = [weakref.ref(row) for row in rows]
    assert total(rows) == 8.0
    del rows
    gc.collect()
    assert all(row() is None for row in alive)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_computation_within_a_clients_generator(threads):
    numbers = tff.SequenceType(np.int32)

    @tff.tensorflow.computation(numbers)
    def count(data):
        return data.reduce(0, tf.add)

    @tff.federated_computation(tff.FederatedType(numbers, tff.CLIENTS))
    def outer(x):
        return tff.federated_sum(tff.federated_map(count, x))

    @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
    def inner(x):
        return tff.federated_sum(tff.federated_map(add, (x, x)))

    found = []
    with context.open_runtime(threads=threads) as opened:

        def generate():
            for last in range(2):
                yield opened.invoke(inner, [1, 2, last])

        def run():
            spec = tf.TensorSpec([], tf.int32)
            data = tf.data.Dataset.from_generator(
                generate, output_signature=spec
            )
            found.append(opened.invoke(outer, [data] * 5))

        # A daemon: what waits for ever does not keep the suite from ending.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(60)
        assert found == [5 * (6 + 8)]


def test_tffs_secure_aggregator_trains(opened):
    process = tff.learning.secure_aggregator().create(
        tff.TensorType(np.float32, (3,)), tff.TensorType(np.float32)
    )
    values = [np.float32([0.1, 0.2, 0.3]), np.float32([0.3, 0.4, 0.5])]
    result = process.next(process.initialize(), values, [1.0, 3.0]).result
    # Quantized to 24 bits.
    np.testing.assert_allclose(result, [0.25, 0.35, 0.45], atol=1e-4)
