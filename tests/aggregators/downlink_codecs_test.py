import numpy as np
import tensorflow as tf

from tff_cnn.aggregators.codecs import Codecs, Seeds
from tff_cnn.aggregators.downlink_codecs import build_int8, build_prune

NOTHING = Seeds(tf.zeros([2], tf.int64), tf.zeros([2], tf.int64))
WEIGHTS = [
    np.float32([[0.5, -3.0], [0.1, 2.0]]),
    np.float32([-0.2, 1.0]),
]


def sent(*parts):
    leaves = [tf.constant(w) for w in WEIGHTS]
    found, size = Codecs(parts).transmitted(leaves, NOTHING)
    return [w.numpy() for w in found], int(size)


def test_the_largest_weights_of_all_are_sent():
    (first, second), size = sent(build_prune(0.5))
    np.testing.assert_array_equal(first, [[0, -3], [0, 2]])
    np.testing.assert_array_equal(second, [0, 1])
    assert 4 * 3 < size <= 4 * 3 + 4


def test_without_sparsity_all_weights_arrive_as_they_were():
    found, _ = sent(build_prune(0.0))
    for one, other in zip(found, WEIGHTS, strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_tensor_has_a_scale_of_its_own():
    found, size = sent(build_int8())
    for one, other in zip(found, WEIGHTS, strict=True):
        half = np.abs(other).max() / 127 / 2
        np.testing.assert_allclose(one, other, atol=1.001 * half)
    assert size <= 6 + 2 * 4 + 8  # With what its code begins with.
    again, _ = sent(build_int8())
    np.testing.assert_array_equal(found[0], again[0])
