import weakref

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process import execution
from tff_cnn.runtime.in_process.context import InProcessContext


@pytest.fixture
def context():
    context = InProcessContext(2)
    tff.framework.set_default_context(context)
    yield context
    context.close()


@tff.tensorflow.computation(np.float32)
def checked_root(x):
    with tf.control_dependencies([tf.debugging.assert_non_negative(x)]):
        return tf.sqrt(x)


@tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
def sum_of_roots(x):
    return tff.federated_sum(tff.federated_map(checked_root, x))


def test_an_exception_in_a_client_names_the_client(context):
    with pytest.raises(execution.ClientError, match="client 2 of 4 failed"):
        sum_of_roots([1.0, 4.0, -9.0, 16.0])
    assert sum_of_roots([1.0, 4.0, 9.0]) == 6.0


def test_sums_are_taken_in_the_clients_order(context):
    # Floats that give another sum in any other order.
    values = np.float32([1e8, 1.0, -1e8, 1.0] * 25)
    expected = np.float32(0)
    for value in values:
        expected = np.float32(expected + value)

    @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
    def total(x):
        return tff.federated_sum(x)

    for _ in range(5):
        assert total(list(values)) == expected


def test_only_clients_in_flight_are_in_memory(context, monkeypatch):
    alive, most = set(), 0
    call = execution.FusedFunction.__call__

    def spy(self, values):
        nonlocal most
        outputs = call(self, values)
        for output in outputs:
            alive.add(id(output))
            weakref.finalize(output, alive.discard, id(output))
        most = max(most, len(alive))
        return outputs

    monkeypatch.setattr(execution.FusedFunction, "__call__", spy)
    assert sum_of_roots([4.0] * 200) == 400.0
    assert 0 < most <= 2 * context._in_flight


def test_random_numbers_are_drawn_once_a_client_and_anew_each_round(context):
    @tff.tensorflow.computation
    def draw():
        return tf.random.normal([])

    @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
    def compute(x):
        noise = tff.federated_eval(draw, tff.CLIENTS)
        return noise, noise, tff.federated_sum(noise)

    first, again, total = compute([0.0] * 20)
    assert first == again
    assert len(set(first)) == 20
    assert total == pytest.approx(sum(first), abs=1e-4)
    assert compute([0.0] * 20)[0] != first
