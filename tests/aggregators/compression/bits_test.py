import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.aggregators.compression import bits

# TensorFlow's first call of an operation takes longer than others.
unhurried = settings(deadline=None, max_examples=50)


def bits_in_numpy(message) -> np.ndarray:
    return np.unpackbits(message.numpy(), bitorder="little")


@unhurried
@given(st.integers(0, 31), st.integers(1, 40), st.randoms())
def test_fields_of_equal_width_come_back(width, count, random):
    values = np.int32([random.randrange(2**width) for _ in range(count)])
    message = bits.pack(tf.constant(values), width)
    assert message.shape == [-(-count * width // 8)]
    np.testing.assert_array_equal(bits.unpack(message, width, count), values)
    # The first bit is the lowest of the first number.
    found = bits_in_numpy(message)[: count * width].reshape(count, width)
    np.testing.assert_array_equal(
        found @ (2 ** np.arange(width, dtype=np.int64)), values
    )


def test_three_bits_each_by_hand():
    message = bits.pack(tf.constant([1, 2, 7]), 3)
    # 1 is 100, 2 is 010, 7 is 111 from the lowest bit on.
    np.testing.assert_array_equal(message, [0b11010001, 0b1])


@unhurried
@given(st.lists(st.integers(0, 32), min_size=1, max_size=30), st.randoms())
def test_fields_of_any_width_come_back_from_anywhere(widths, random):
    gaps = [random.randrange(40) for _ in widths]
    starts = np.cumsum(gaps) + np.cumsum([0, *widths[:-1]])
    values = [random.randrange(2**width) for width in widths]
    total = int(starts[-1] + widths[-1])
    words = bits.put(
        tf.constant(values, tf.int64),
        tf.constant(starts, tf.int32),
        tf.fill([len(widths)], True),
        bits.num_words(total),
    )
    size = -(-total // 8)
    message = bits.to_bytes(words, size)
    found = bits.get(
        bits.to_words(message),
        tf.constant(starts, tf.int32),
        tf.constant(widths, tf.int64),
    )
    np.testing.assert_array_equal(found, values)
    expected = sum(
        value << int(s) for value, s in zip(values, starts, strict=True)
    )
    assert int.from_bytes(message.numpy().tobytes(), "little") == expected
    np.testing.assert_array_equal(
        bits.single_bits(message), bits_in_numpy(message)
    )


def test_what_is_not_there_is_not_put():
    words = bits.put(
        tf.constant([3, 3], tf.int64),
        tf.constant([0, 9999]),
        tf.constant([True, False]),
        2,
    )
    np.testing.assert_array_equal(words, [3, 0])


@pytest.mark.parametrize(
    ("message", "size"),
    [([], 0), ([0, 0], 0), ([0, 1, 0], 2), ([255, 0, 7], 3)],
)
def test_zeros_at_the_end_are_not_sent(message, size):
    found = bits.used_bytes(tf.constant(message, tf.uint8))
    assert (found.dtype, found.numpy()) == (tf.int64, size)
