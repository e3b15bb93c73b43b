"""See the contract of runtimes for what each call has of its own."""

import gc
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process.graph_function import GraphFunction

INT64 = tff.TensorType(np.int64)


def build(function):
    computation = tff.tensorflow.computation(function, INT64)
    return GraphFunction(computation.to_building_block())


def build_of_sequence(function):
    """The same of a sum of a sequence, which no session of its own can take."""
    computation = tff.tensorflow.computation(
        lambda data: function(data.reduce(np.int64(0), tf.add)),
        tff.SequenceType(np.int64),
    )
    return GraphFunction(computation.to_building_block())


def queue(x):
    queue = tf.queue.FIFOQueue(10, [tf.int64], shapes=[[]])
    with tf.control_dependencies([queue.enqueue(x)]):
        return queue.dequeue()


def reference_variable(x):
    variable = tf.compat.v1.Variable(x, use_resource=False)
    return variable.read_value()


def barrier(x):
    handle = tf.raw_ops.Barrier(component_types=[tf.int64], shapes=[[]])
    with tf.control_dependencies([tf.raw_ops.BarrierClose(handle=handle)]):
        return tf.identity(x)


def stage(x):
    with tf.control_dependencies([tf.raw_ops.Stage(values=[x])]):
        return tf.raw_ops.Unstage(dtypes=[tf.int64])[0]


def one_shot_iterator(x):
    data = tf.data.Dataset.range(5)
    return x + tf.compat.v1.data.make_one_shot_iterator(data).get_next()


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (queue, "FIFOQueueV2"),
        (reference_variable, "VariableV2"),
        (barrier, "Barrier"),
        (stage, "Stage"),
        (one_shot_iterator, "OneShotIterator"),
    ],
)
def test_what_all_calls_would_share_is_refused_by_name(function, named):
    with pytest.raises(NotImplementedError, match=f"{named} .*native runtime"):
        build_of_sequence(function)


def size_of_table(key, shared_name=""):
    table = tf.raw_ops.MutableHashTableV2(
        key_dtype=tf.int64, value_dtype=tf.int64, shared_name=shared_name
    )
    insert = tf.raw_ops.LookupTableInsertV2(
        table_handle=table, keys=[key], values=[key]
    )
    with tf.control_dependencies([insert]):
        return tf.raw_ops.LookupTableSizeV2(table_handle=table)


def call(function, *values):
    compute = tf.function(lambda x: function([x]))
    return [int(compute(tf.constant(v, tf.int64))[0]) for v in values]


def test_tables_within_branches_and_nested_functions_are_made_anew():
    inner = tf.function(size_of_table)
    outer = tf.function(lambda x: inner(x) * 10)
    function = build(lambda x: tf.cond(x > 1, lambda: outer(x), lambda: x))
    assert call(function, 1, 2, 3) == [1, 10, 10]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.while_loop(
            lambda n: n < 3, lambda n: n + size_of_table(n), [x]
        ),
        lambda x: tf.data.Dataset.range(3).reduce(
            x, lambda n, i: n + size_of_table(i)
        ),
    ],
)
def test_tables_made_in_every_step_of_a_loop_are_refused(function):
    with pytest.raises(NotImplementedError, match="MutableHashTableV2.*many"):
        build_of_sequence(function)


def test_functions_that_are_called_twice_and_make_tables_are_refused():
    inner = tf.function(size_of_table)
    with pytest.raises(NotImplementedError, match="MutableHashTableV2.*many"):
        build_of_sequence(lambda x: inner(x) + inner(x + 1))


def test_names_that_functions_share_are_refused():
    inner = tf.function(lambda x: size_of_table(x, "same"))
    with pytest.raises(NotImplementedError, match="the name 'same'"):
        build_of_sequence(lambda x: size_of_table(x, "same") + inner(x + 1))


def memory_in_use() -> int:
    """Bytes of this process that are in memory."""
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return 4096 * int(pages)


def test_resources_are_let_go_after_each_call():
    def compute(x):
        variable = tf.Variable(tf.zeros([1_000_000]))
        table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)
        keys = tf.range(10_000, dtype=tf.int64)
        with tf.control_dependencies(
            [
                variable.assign_add(tf.ones([1_000_000])),
                table.insert(keys, keys),
            ]
        ):
            return tf.cast(variable.read_value()[0], tf.int64) + table.size()

    function = build(compute)
    call(function, *range(10))
    gc.collect()
    before = memory_in_use()
    assert call(function, *range(100)) == [10_001] * 100
    assert memory_in_use() - before < 100e6  # All of them: 400 MB.
