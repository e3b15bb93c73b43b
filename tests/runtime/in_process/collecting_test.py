import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators.collected import CollectedFactory
from tff_cnn.runtime.in_process import interpreter
from tff_cnn.runtime.in_process.context import open_runtime

lower = tff.backends.native.transform_to_native_form
ONE = tff.TensorType(np.float32, (2,))
MANY = tff.TensorType(np.float32, (None, 2))


def aggregation(append, start=()):
    """Of clients' pairs of numbers with the accumulator `append`."""

    @tff.tensorflow.computation
    def zero():
        return tf.reshape(tf.constant(start, tf.float32), [-1, 2])

    @tff.tensorflow.computation(MANY, ONE)
    def accumulate(many, one):
        return append(many, one)

    @tff.tensorflow.computation(MANY, MANY)
    def merge(a, b):
        return tf.concat([a, b], 0)

    @tff.tensorflow.computation(MANY)
    def report(many):
        return 2 * many

    @tff.federated_computation(tff.FederatedType(ONE, tff.CLIENTS))
    def compute(values):
        return tff.federated_aggregate(
            values, zero(), accumulate, merge, report
        )

    return compute


def kind_of(computation) -> str:
    (reduction,) = interpreter.build_plan(lower(computation)).reductions
    return reduction.kind


def append(many, one):
    return tf.concat([many, tf.expand_dims(one, 0)], 0)


def test_values_that_are_appended_are_collected():
    compute = aggregation(append, start=[[9.0, 9.0]])
    assert kind_of(compute) == "collect"
    values = [np.float32([i, -i]) for i in range(5)]
    with open_runtime(threads=2) as opened:
        tff.framework.set_default_context(opened)
        found = compute(values)
        np.testing.assert_array_equal(found, 2 * np.array([[9, 9], *values]))
        np.testing.assert_array_equal(compute([]), [[18, 18]])


def in_front(many, one):
    return tf.concat([tf.expand_dims(one, 0), many], 0)


def doubled(many, one):
    return append(many, 2 * one)


def on_top_of_more(many, one):
    return append(many + 1, one)


def twice(many, one):
    return append(append(many, one), one)


def three_at_once(many, one):
    row = tf.expand_dims(one, 0)
    return tf.concat([many, row, row], 0)


def itself(many, one):
    del one
    return many


def the_sum(many, one):
    return many + one


@pytest.mark.parametrize(
    "accumulate",
    [in_front, doubled, on_top_of_more, twice, three_at_once, itself, the_sum],
)
def test_all_else_is_accumulated_client_by_client(accumulate):
    compute = aggregation(accumulate, start=[[9.0, 9.0]])
    assert kind_of(compute) == "accumulate"


def test_along_another_axis_is_not_collecting():
    wide = tff.TensorType(np.float32, (2, None))

    @tff.tensorflow.computation
    def zero():
        return tf.zeros([2, 0])

    @tff.tensorflow.computation(wide, ONE)
    def accumulate(many, one):
        return tf.concat([many, tf.expand_dims(one, 1)], 1)

    @tff.tensorflow.computation(wide, wide)
    def merge(a, b):
        return tf.concat([a, b], 1)

    @tff.tensorflow.computation(wide)
    def report(many):
        return many

    @tff.federated_computation(tff.FederatedType(ONE, tff.CLIENTS))
    def compute(values):
        return tff.federated_aggregate(
            values, zero(), accumulate, merge, report
        )

    assert kind_of(compute) == "accumulate"


def test_an_aggregator_of_single_updates_is_collected():
    type_ = tff.to_type(collections.OrderedDict(a=ONE, b=np.float32))
    process = CollectedFactory(
        lambda cohort: cohort.coordinatewise(lambda b: tf.reduce_max(b, 0))
    ).create(type_, tff.TensorType(np.float32))
    plan = interpreter.build_plan(lower(process.next))
    (reduction,) = plan.reductions
    assert reduction.kind == "collect"
    assert [leaf.type for leaf in reduction.sources] == [
        ONE,
        tff.TensorType(np.float32),
        tff.TensorType(np.float32),
    ]


def test_rows_of_unknown_shape_are_accumulated():
    any_shape = tff.TensorType(np.float32, (None,))
    rows = tff.TensorType(np.float32, (None, None))

    @tff.tensorflow.computation
    def zero():
        return tf.zeros([0, 2])

    @tff.tensorflow.computation(rows, any_shape)
    def accumulate(many, one):
        return append(many, one)

    @tff.tensorflow.computation(rows, rows)
    def merge(a, b):
        return tf.concat([a, b], 0)

    @tff.tensorflow.computation(rows)
    def report(many):
        return many

    @tff.federated_computation(tff.FederatedType(any_shape, tff.CLIENTS))
    def compute(values):
        return tff.federated_aggregate(
            values, zero(), accumulate, merge, report
        )

    assert kind_of(compute) == "accumulate"
