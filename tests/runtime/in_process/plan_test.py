import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process import plan
from tff_cnn.runtime.in_process.plan import Leaf, Output, TensorCall

SCALAR = tff.TensorType(np.float32)


def test_a_call_is_made_once_however_many_of_its_outputs_are_used():
    calls = []

    def compute(x):
        calls.append(x)
        return [x + 1, x * 10]

    source = Leaf(SCALAR, plan.SERVER, 0)
    operation = plan.Operation(compute, [False])
    call = TensorCall(operation, [source], plan.SERVER, 0)
    outputs = [Output(SCALAR, plan.SERVER, 0, call, i) for i in (1, 0, 1)]
    found = plan.evaluate(outputs, {source: tf.constant(2.0)})
    assert [float(value) for value in found] == [20.0, 3.0, 20.0]
    assert len(calls) == 1


def test_leaves_of_records_are_in_order():
    leaves = [Leaf(SCALAR, plan.SERVER, 0) for _ in range(3)]
    record = plan.Record(
        ("b", "a"), (plan.Record((None, None), tuple(leaves[:2])), leaves[2])
    )
    assert plan.leaves(record) == leaves
    assert record.select("a", None) is record.select(None, 1) is leaves[2]


def test_a_local_function_captures_what_comes_from_outside_and_no_more():
    def add(values):
        return [tf.add_n(values)]

    parameter, outer = (Leaf(SCALAR, plan.SERVER, 0) for _ in range(2))
    constant = plan.Constant(SCALAR, plan.SERVER, 0, np.float32(10))
    operation = plan.Operation(lambda *x: add(x), [False] * 3)
    inside = TensorCall(operation, [parameter, outer, constant], plan.SERVER, 0)
    inner = Output(SCALAR, plan.SERVER, 0, inside, 0)
    before = TensorCall(operation, [outer], plan.SERVER, 0)
    outside = Output(SCALAR, plan.SERVER, 0, before, 0)
    last = TensorCall(operation, [inner, outside], plan.SERVER, 0)
    result = Output(SCALAR, plan.SERVER, 0, last, 0)
    found = plan.LocalFunction([parameter], [result], [inside, last])
    assert found.captured == [outer, outside]
    captured = [tf.constant(3.0), tf.constant(100.0)]
    (total,) = found([tf.constant(1.0)], captured)
    assert float(total) == 1 + 3 + 10 + 100
