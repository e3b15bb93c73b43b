import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators import codecs, mean
from tff_cnn.aggregators.codecs import Codecs
from tff_cnn.aggregators.encoded import EncodedFactory

TYPE = tff.to_type(
    [tff.TensorType(np.float32, (3, 2)), tff.TensorType(np.float32, (4,))]
)


@dataclasses.dataclass(frozen=True)
class FirstHalf:
    """Sends the first half of each tensor; the rest is taken to be zero."""

    def encode(self, leaves, seeds):
        flat = [tf.reshape(leaf, [-1]) for leaf in leaves]
        return [x[: x.shape[0] // 2] for x in flat], ()

    def decode(self, left, beside, specs, shared):
        return [
            tf.reshape(tf.concat([x, tf.zeros_like(x)], 0), spec.shape)
            for x, spec in zip(left, specs, strict=True)
        ]

    def num_bytes(self, beside):
        return codecs.num_bytes(beside)


@dataclasses.dataclass(frozen=True)
class Shifted:
    """Sends bytes, and adds what all know of the round."""

    def encode(self, leaves, seeds):
        shift = tf.cast(seeds.shared[0], tf.float32)
        return [], [tf.cast(leaf + shift, tf.uint8) for leaf in leaves]

    def decode(self, left, beside, specs, shared):
        assert not left
        shift = tf.cast(shared[0], tf.float32)
        return [tf.cast(x, tf.float32) - shift for x in beside]

    def num_bytes(self, beside):
        return codecs.num_bytes(beside)


def update(value):
    return [np.full((3, 2), value, np.float32), np.full(4, value, np.float32)]


@pytest.mark.usefixtures("native_runtime")
def test_what_is_decoded_is_aggregated_and_what_is_sent_is_counted():
    factory = EncodedFactory(
        Codecs([FirstHalf(), Shifted()]), mean.build_mean()
    )
    process = factory.create(TYPE, tff.TensorType(np.float32))
    state = process.initialize()
    for number in range(2):
        output = process.next(state, [update(1), update(4)], [1.0, 2.0])
        state = output.state
        matrix, vector = output.result
        np.testing.assert_array_equal(
            matrix, [[3, 3], [3, 0], [0, 0]], err_msg=str(number)
        )
        np.testing.assert_array_equal(vector, [3, 3, 0, 0])
        # Of two clients 3 and 2 bytes, and a weight.
        assert output.measurements["bytes_up"] == 2 * (3 + 2 + 4)
        assert "mean_value" in output.measurements  # The mean's own.
        assert state[0] == number + 1


@pytest.mark.usefixtures("native_runtime")
def test_numbers_that_are_left_are_sent_as_they_are():
    factory = EncodedFactory(Codecs([FirstHalf()]), mean.build_mean())
    process = factory.create(TYPE, tff.TensorType(np.float32))
    output = process.next(process.initialize(), [update(1)], [1.0])
    assert output.measurements["bytes_up"] == 4 * 5 + 4
