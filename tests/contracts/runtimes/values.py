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
def sequences_as_results():
    element = collections.OrderedDict(b=np.int32, a=(np.int32, np.float32))

    @tff.tensorflow.computation(tff.SequenceType(element))
    def compute(data):
        return data.map(lambda e: {"z": e["a"], "c": e["b"] + 1}), data

    @tff.federated_computation(AT_SERVER(tff.SequenceType(element)))
    def at_server(data):
        return data

    value = collections.OrderedDict(b=1, a=(2, 3.0))
    results = *compute([value] * 2), at_server([value] * 3)
    assert all(isinstance(data, tf.data.Dataset) for data in results)
    return [list(data) for data in results]


@case
def sequences_without_an_end_as_results():
    @tff.tensorflow.computation
    def compute():
        return tf.data.Dataset.range(3).repeat()

    return list(compute().take(5))


@case
def sequences_of_elements_of_several_shapes():
    element = tff.TensorType(np.int32, (None,))

    @tff.tensorflow.computation(tff.SequenceType(element))
    def compute(data):
        return data.map(lambda row: 2 * row)

    # The worker takes lists of which only the last element differs.
    rows = [np.arange(n, dtype=np.int32) for n in (3, 3, 3, 1)]
    return list(compute(rows)), list(compute([]))


@case
def structures_without_containers():
    inner = tff.StructType([np.int32, np.int32])
    type_ = tff.StructType([("a", inner), ("b", tff.StructType([]))])

    @tff.federated_computation(AT_CLIENTS(type_), AT_SERVER(type_), type_)
    def compute(x, y, z):
        return x, y, z

    value = collections.OrderedDict(a=(1, 2), b=())
    return compute([value, value], value, value)


@case
def brain_floats():
    dtype = tf.bfloat16.as_numpy_dtype

    @tff.tensorflow.computation(np.float32)
    def rounded(x):
        return tf.cast(x, tf.bfloat16), tf.cast(tf.stack([x, x]), tf.bfloat16)

    @tff.tensorflow.computation
    def zero():
        return tf.zeros([], tf.bfloat16)

    @tff.tensorflow.computation(dtype, dtype)
    def add(a, b):
        return a + b

    @tff.tensorflow.computation(dtype)
    def same(a):
        return a

    @tff.federated_computation(AT_CLIENTS(np.float32), AT_CLIENTS(dtype))
    def compute(x, y):
        each = tff.federated_map(rounded, x)
        total = tff.federated_aggregate(y, zero(), add, add, same)
        return each, tff.federated_sum(each), tff.federated_sum(y), total

    found = (
        compute([1.5, 2.25], [dtype(1), dtype(3)]),
        rounded(0.5),
        same(dtype(2)),
    )
    # NumPy's own routines do not know the type.
    assert tf.nest.flatten(found)[0].dtype == dtype
    return tf.nest.map_structure(np.float32, found)


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
