import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process.execution import Executable
from tff_cnn.runtime.in_process.interpreter import build_plan


def client_function(function, type_):
    """The fused function of a computation's only pass over the clients."""
    mapped = tff.tensorflow.computation(function, type_)

    @tff.federated_computation(tff.FederatedType(type_, tff.CLIENTS))
    def total(value):
        return tff.federated_sum(tff.federated_map(mapped, value))

    native = tff.backends.native.transform_to_native_form(total)
    executable = Executable(build_plan(native))
    (found,) = [s.clients for s in executable._stages if s.clients]
    return found


def test_bytes_are_those_of_a_clients_results():
    function = client_function(
        lambda x: (x, tf.reduce_sum(x)), tff.TensorType(np.float32, [10])
    )
    assert function.output_bytes == 44


def test_a_group_gets_what_each_client_gets():
    function = client_function(
        lambda x: tf.sqrt(x), tff.TensorType(np.float32, [2])
    )
    together = function.together
    assert together.is_stacked == [True]
    (output,) = together.concrete(tf.constant([[1.0, 4.0], [9.0, 16.0]]))
    np.testing.assert_array_equal(output, [[1, 2], [3, 4]])
    assert function.reason is None


@pytest.mark.parametrize(
    ("compute", "type_", "reason"),
    [
        (
            lambda x: x + tf.random.normal([]),
            tff.TensorType(np.float32),
            "state",
        ),
        (
            lambda data: data.reduce(np.float32(0), lambda a, b: a + b),
            tff.SequenceType(np.float32),
            "data sets",
        ),
    ],
)
def test_a_reason_says_why_clients_are_computed_alone(compute, type_, reason):
    function = client_function(compute, type_)
    assert function.together is None
    assert reason in function.reason
