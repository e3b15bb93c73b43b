import numpy as np
import tensorflow as tf

from tff_cnn.aggregators import codecs

LEAVES = [tf.reshape(tf.range(6.0), [3, 2]), tf.constant(7.0), tf.ones([1])]


def test_tensors_are_one_vector_and_come_back():
    vector = codecs.joined(LEAVES)
    np.testing.assert_array_equal(vector, [0, 1, 2, 3, 4, 5, 7, 1])
    for found, expected in zip(
        codecs.parted(vector, LEAVES), LEAVES, strict=True
    ):
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)
    assert codecs.num_bytes(LEAVES).numpy() == 4 * 8
    assert codecs.num_bytes(()).numpy() == 0


def test_each_use_has_a_stream_of_its_own():
    """Also of rounds and clients that come later."""
    found = {
        tuple(codecs.stream(tf.constant([3, number], tf.int64), use).numpy())
        for number in (0, 1, 10**6)
        for use in (0, 1, 1 << 17, (1 << 19) + 5)
    }
    assert len(found) == 12


def test_what_is_divided_has_a_size_of_one():
    largest, unit = codecs.divided(tf.constant([1e25, -3e25, 0.0]))
    np.testing.assert_allclose(unit, [1 / 3, -1, 0], rtol=1e-6)
    assert largest.numpy() == np.float32(3e25)
    largest, unit = codecs.divided(tf.zeros(3))
    assert largest.numpy() == 0
    np.testing.assert_array_equal(unit, [0, 0, 0])
