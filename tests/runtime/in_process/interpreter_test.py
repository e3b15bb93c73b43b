import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from google.protobuf import any_pb2, struct_pb2

from tff_cnn.runtime.in_process import interpreter, plan
from tff_cnn.runtime.in_process.context import open_runtime

lower = tff.backends.native.transform_to_native_form


@tff.tensorflow.computation(np.int32, np.int32)
def add(a, b):
    return a + b


@tff.federated_computation(
    tff.FederatedType(np.int32, tff.CLIENTS),
    tff.FederatedType(np.int32, tff.SERVER),
)
def two_passes(x, y):
    there = tff.federated_broadcast(y)
    local = tff.federated_map(add, (x, there))
    total = tff.federated_broadcast(tff.federated_sum(local))
    return tff.federated_sum(tff.federated_map(add, (local, total))), y


def test_stages_count_the_reductions_that_must_come_before():
    made = interpreter.build_plan(lower(two_passes))
    assert [(leaf.place, leaf.stage) for leaf in made.inputs] == [
        (plan.CLIENTS, 0),
        (plan.SERVER, 0),
    ]
    assert [(c.place, c.stage) for c in made.calls] == [
        (plan.CLIENTS, 0),
        (plan.CLIENTS, 1),
    ]
    assert [(r.kind, r.stage) for r in made.reductions] == [
        ("sum", 0),
        ("sum", 1),
    ]
    assert [leaf.stage for leaf in plan.leaves(made.result)] == [2, 0]


def test_moving_values_about_costs_no_calls():
    @tff.federated_computation(tff.FederatedType(np.int32, tff.SERVER))
    def zip_and_back(y):
        pair = tff.federated_zip((y, y))
        return tff.federated_zip((pair, y))

    made = interpreter.build_plan(lower(zip_and_back))
    assert made.calls == [] and made.reductions == []
    assert plan.leaves(made.result) == [made.inputs[0]] * 3


def test_what_cannot_run_here_is_named():
    class Unknown:
        def compact_representation(self):
            return "unknown thing"

    with pytest.raises(NotImplementedError, match="Unknown.*unknown thing"):
        interpreter._Interpreter()._evaluate(Unknown(), {}, plan.SERVER)


def test_intrinsics_that_cannot_run_here_are_named():
    type_ = tff.FunctionType(np.int32, np.int32)
    unknown = tff.framework.Intrinsic("federated_teleport", type_)
    with pytest.raises(NotImplementedError, match="'federated_teleport'"):
        interpreter._Interpreter()._evaluate(unknown, {}, plan.SERVER)


def test_data_that_is_elsewhere_cannot_run_here():
    data = tff.framework.Data(any_pb2.Any(), tff.SequenceType(np.int32))
    with pytest.raises(NotImplementedError, match="a Data"):
        interpreter._Interpreter()._evaluate(data, {}, plan.SERVER)


def test_an_accumulator_may_grow_from_an_empty_one():
    many = tff.TensorType(np.int32, (None,))

    @tff.tensorflow.computation
    def nothing():
        return np.zeros([0], np.int32)

    @tff.tensorflow.computation(many, np.int32)
    def append(numbers, one):
        # A graph that were told the size 0 would never stop to append.
        return tf.cond(
            tf.size(numbers) < 2,
            lambda: tf.concat([numbers, [one]], 0),
            lambda: numbers,
        )

    @tff.tensorflow.computation(many, many)
    def merge(a, b):
        return tf.concat([a, b], 0)

    @tff.tensorflow.computation(many)
    def report(numbers):
        return numbers

    @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
    def compute(x):
        return tff.federated_aggregate(x, nothing(), append, merge, report)

    (reduction,) = interpreter.build_plan(lower(compute)).reductions
    assert reduction.zero[0].type == many
    with open_runtime(threads=2) as opened:
        tff.framework.set_default_context(opened)
        assert list(compute([5, 6, 7])) == [5, 6]


def test_computations_may_be_nested_deeper_than_100_messages():
    interpreter.allow_deep_computations()
    inner = struct_pb2.Value(number_value=1)
    for _ in range(100):
        items = struct_pb2.ListValue(values=[inner])
        inner = struct_pb2.Value(list_value=items)
    for _ in range(100):
        inner = inner.list_value.values[0]
    assert inner.number_value == 1
