import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.aggregators.compression import payloads
from tests.reference import compression as reference
from tff_cnn.aggregators.compression import integers


@st.composite
def vectors(draw):
    """(numbers, width): sparse ones, small ones, and any."""
    width = draw(st.integers(2, 16))
    largest = 2 ** (width - 1) - 1
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.integers(1, 300))
    values = rng.integers(-largest, largest + 1, size)
    spread = draw(st.sampled_from([0, 1, 3, largest]))
    values = np.clip(values, -spread, spread)
    values[rng.random(size) < draw(st.sampled_from([0, 0.5, 0.99, 1]))] = 0
    return values.astype(np.int32), width


@settings(deadline=None, max_examples=40)
@given(vectors())
def test_integers_come_back_from_what_is_sent(given):
    values, width = given
    message = integers.encode(tf.constant(values), width)
    assert message.shape == [integers.num_bytes(len(values), width)]
    # The reference writes and reads bit by bit.
    expected = reference.encode_integers(values, width)
    assert payloads.as_sent(message) == expected.rstrip(b"\0")
    found = integers.decode(payloads.received(message), len(values), width)
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(
        reference.decode_integers(expected, len(values), width), values
    )


def test_zeros_take_no_byte():
    message = integers.encode(tf.zeros([50], tf.int32), 4)
    assert payloads.as_sent(message) == b""
    np.testing.assert_array_equal(integers.decode(message, 50, 4), [0] * 50)


def test_numbers_that_are_equally_likely_take_fields_of_their_width():
    rng = np.random.default_rng(3)
    values = tf.constant(rng.integers(-7, 8, 1000), tf.int32)
    size = len(payloads.as_sent(integers.encode(values, 4)))
    assert 500 <= size <= 6 + 500


@pytest.mark.parametrize(("share", "slack"), [(0.001, 1.1), (0.05, 1.05)])
def test_sparse_signs_take_hardly_more_than_their_entropy(share, slack):
    rng = np.random.default_rng(4)
    size = 200_000
    values = (rng.random(size) < share) * rng.choice([-1, 1], size)
    message = integers.encode(tf.constant(values, tf.int32), 2)
    p = share
    entropy = size * (
        -p * np.log2(p / 2) - (1 - p) * np.log2(1 - p)
    )  # Of zero, plus and minus.
    found = 8 * len(payloads.as_sent(message))
    # A size of 1 costs a bit that says so.
    ones = np.count_nonzero(values)
    assert found <= slack * entropy + ones + 100
