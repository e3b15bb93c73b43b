import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.aggregators.compression import payloads
from tests.reference import compression as reference
from tff_cnn.aggregators.compression import rice


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 400), st.data())
def test_indices_come_back_from_what_is_sent(size, data):
    count = data.draw(st.integers(1, size))
    indices = np.sort(
        data.draw(st.permutations(range(size)).map(lambda order: order[:count]))
    )
    message = rice.encode_indices(tf.constant(indices, tf.int32), size)
    assert message.shape == [sum(rice.index_bytes(count, size))]
    # The reference writes and reads bit by bit.
    assert payloads.as_sent(message) == reference.encode_indices(
        indices, size
    ).rstrip(b"\0")
    np.testing.assert_array_equal(
        rice.decode_indices(payloads.received(message), count, size), indices
    )


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5])
def test_random_indices_take_hardly_more_than_their_entropy(share):
    size = 200_000
    count = int(share * size)
    rng = np.random.default_rng(1)
    indices = np.sort(rng.choice(size, count, replace=False))
    message = rice.encode_indices(tf.constant(indices, tf.int32), size)
    entropy = (
        math.lgamma(size + 1)
        - math.lgamma(count + 1)
        - math.lgamma(size - count + 1)
    ) / math.log(2)
    found = 8 * len(payloads.as_sent(message))
    assert entropy <= found <= 1.04 * entropy + 16
    # Every order of bytes is bounded, as the message is.
    assert 8 * message.shape[0] <= count * (math.log2(size / count) + 3) + 16


def test_all_indices_are_a_bit_each():
    message = rice.encode_indices(tf.range(16), 16)
    assert payloads.as_sent(message) == b"\xff\xff"


@pytest.mark.parametrize("mean", [0, 0.5, 1, 2.1, 3, 100, 1e6])
def test_the_parameter_of_what_is_sent_is_that_of_its_mean(mean):
    values = tf.constant([round(20 * mean)] + [0] * 30, tf.int32)
    found = rice.found_parameter(values, tf.constant(20), 16)  # 11 not sent.
    assert int(found) == min(rice.parameter(mean), 16)
