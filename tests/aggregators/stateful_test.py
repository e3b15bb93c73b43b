import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators import stateful

pytestmark = pytest.mark.usefixtures("native_runtime")
FLOAT = tff.TensorType(np.float32)


def test_its_own_state_and_that_of_what_is_behind_go_on_together():
    inner = tff.aggregators.MeanFactory().create(FLOAT, FLOAT)

    @tff.tensorflow.computation(np.float32, stateful.NUMBER)
    def add(value, number):
        return value + tf.cast(number, tf.float32)

    def step(number, value, weight, behind):
        sent = tff.federated_map(add, (value, tff.federated_broadcast(number)))
        output = behind(sent, weight)
        return output.state, output.result, output.measurements

    process = stateful.numbered(inner, FLOAT, FLOAT, step)
    state = process.initialize()
    assert state[0] == 0
    for number in range(3):
        output = process.next(state, [1.0, 4.0], [1.0, 2.0])
        assert output.result == pytest.approx(3 + number)
        state = output.state
        assert state[0] == number + 1
