"""Cases: every kind of value that goes into a computation and comes out."""

import collections
from typing import NamedTuple

import attrs
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tests.contracts.runtimes.cases import AT_CLIENTS, AT_SERVER, case


@case
def plain_tensorflow():
    @tff.tensorflow.computation(np.float32, np.float32)
    def compute(a, b):
        return collections.OrderedDict(sum=a + b, both=(a, [b, a * b]))

    return compute(1.5, -2.0)


@case
def all_dtypes():
    dtypes = [
        np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.uint32, np.int64,
        np.uint64, np.float16, np.float64, np.complex64, np.complex128,
    ]  # fmt: skip
    found = []
    for dtype in dtypes:
        identity = tff.tensorflow.computation(
            lambda x: (x, tf.stack([x, x])), tff.TensorType(dtype)
        )
        found.append(identity(dtype(1)))
    return found


class Point(NamedTuple):
    x: int
    y: float


@attrs.define
class Segment:
    start: Point
    name: str


@case
def containers():
    segment = Segment(Point(np.int32, np.float32), np.str_)

    @tff.tensorflow.computation(segment)
    def compute(value):
        return value, [value.start], {"p": value.start}, (), value.start.x

    found = compute(Segment(Point(1, 2.0), "a"))
    assert type(found[0]) is Segment and type(found[1][0]) is Point
    segment = attrs.astuple(found[0], recurse=False)
    return segment, list(found[1:])


@case
def empty_structures():
    @tff.federated_computation(AT_SERVER(()), AT_CLIENTS(()))
    def compute(state, x):
        return state, x

    return compute((), [(), ()])


@case
def variables():
    @tff.tensorflow.computation(np.int32)
    def count(start):
        total = tf.Variable(1)
        with tf.control_dependencies([total.assign_add(start)]):
            return total.read_value()

    @tff.federated_computation(AT_CLIENTS(np.int32))
    def compute(x):
        counts = tff.federated_map(count, x)
        return counts, tff.federated_sum(counts)

    return count(1), count(2), compute(list(range(6)))


@case
def sequences():
    @tff.tensorflow.computation(tff.SequenceType(np.int32))
    def total(numbers):
        return numbers.reduce(0, tf.add)

    as_dataset = tf.data.Dataset.range(5).map(lambda n: tf.cast(n, tf.int32))
    return total([1, 2, 3]), total(as_dataset), total([])


@case
def sequences_of_structures():
    element = collections.OrderedDict(
        b=tff.TensorType(np.int32, (None,)), a=(np.float32, np.str_)
    )

    @tff.tensorflow.computation(tff.SequenceType(element))
    def total(data):
        return data.reduce(
            0.0,
            lambda n, e: (
                n
                + e["a"][0]
                + tf.cast(tf.reduce_sum(e["b"]), tf.float32)
                + tf.cast(tf.strings.length(e["a"][1]), tf.float32)
            ),
        )

    def value(*numbers):
        return collections.OrderedDict(b=np.int32(numbers), a=(1.5, "abc"))

    dataset = tf.data.Dataset.from_tensors(value(4, 5)).repeat(2)
    return total([value(1), value(2, 3)]), total(dataset)


@case
def strings():
    @tff.tensorflow.computation(np.str_)
    def shout(text):
        return tf.strings.join([text, "!"])

    return shout("federated"), shout(b"bytes")


@case
def strings_at_clients():
    @tff.tensorflow.computation(tff.TensorType(np.str_, (None,)))
    def first(texts):
        return texts[0]

    @tff.federated_computation(AT_CLIENTS(tff.TensorType(np.str_, (None,))))
    def compute(x):
        return tff.federated_map(first, x), x

    return compute([np.array(["a", "b"], object), np.array(["c"], object)])


@case
def random_numbers_of_a_seed():
    @tff.tensorflow.computation(tff.TensorType(np.int64, (2,)))
    def draw(seed):
        return tf.random.stateless_normal([3], seed)

    @tff.federated_computation(AT_CLIENTS(tff.TensorType(np.int64, (2,))))
    def compute(seeds):
        return tff.federated_map(draw, seeds)

    return compute([np.int64([1, 2]), np.int64([3, 4])])
