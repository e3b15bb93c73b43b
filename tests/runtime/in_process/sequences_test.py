import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process import sequences

# Names that tf.data, which sorts them, has in another order.
ELEMENT = tff.to_type(collections.OrderedDict(z=np.int32, a=(np.float32,)))


def variant():
    dataset = tf.data.Dataset.from_tensor_slices(
        collections.OrderedDict(z=np.int32([1, 2]), a=(np.float32([3, 4]),))
    )
    return tf.data.experimental.to_variant(dataset)


def test_functions_take_and_give_leaves_in_the_order_of_the_type():
    def swap(leaves):
        z, a = leaves
        assert (z.dtype, a.dtype) == (tf.int32, tf.float32)
        return [a, 10 * z]

    result = tff.to_type(collections.OrderedDict(q=np.float32, b=np.int32))
    mapped = sequences.map_elements(variant(), ELEMENT, swap, result)
    total = sequences.reduce_elements(
        mapped, result, [0.0, 0], lambda v: [v[0] + v[2], v[1] + v[3]]
    )
    assert [float(value) for value in total] == [7.0, 30.0]


def test_sums():
    total = sequences.sum_elements(variant(), ELEMENT)
    assert [float(value) for value in total] == [3.0, 7.0]


def test_selections():
    selected = sequences.select(
        tf.constant([5, 6]), lambda key: [key, tf.cast(key, "float")], ELEMENT
    )
    total = sequences.sum_elements(selected, ELEMENT)
    assert [float(value) for value in total] == [11.0, 11.0]
