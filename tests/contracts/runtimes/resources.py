"""Cases: each call of a graph has tables, variables and iterators of its own.

Each runs two rounds of several clients: what a client leaves behind must be
seen neither by the next client nor in the next round.
"""

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tests.contracts.runtimes.cases import AT_CLIENTS, case

NUMBERS = tff.SequenceType(np.int64)
WORDS = tff.TensorType(np.str_, (None,))
INT64 = tff.TensorType(np.int64)


def two_rounds(function, type_, values):
    """What `function` gives for each client, twice, and for one value alone."""
    computation = tff.tensorflow.computation(function, type_)

    @tff.federated_computation(AT_CLIENTS(type_))
    def compute(x):
        return tff.federated_map(computation, x)

    return compute(values), compute(values), computation(values[1])


def hash_table():
    return tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)


def size_after_insert(table, key):
    keys = tf.reshape(key, [-1])
    with tf.control_dependencies([table.insert(keys, keys)]):
        return table.size()


@case
def mutable_tables():
    return two_rounds(
        lambda key: size_after_insert(hash_table(), key), INT64, [5, 6, 7, 6]
    )


@case
def dense_tables():
    def compute(key):
        table = tf.lookup.experimental.DenseHashTable(
            tf.int64, tf.int64, -1, -2, -3
        )
        return size_after_insert(table, key)

    return two_rounds(compute, INT64, [5, 6, 7, 6])


@case
def tables_of_vectors():
    def compute(key):
        table = tf.lookup.experimental.MutableHashTable(
            tf.int64, tf.float32, [0.0, 0.0]
        )
        with tf.control_dependencies([table.insert([key], [[1.0, 2.0]])]):
            return table.size(), table.lookup([5, 6])

    return two_rounds(compute, INT64, [5, 6, 7, 6])


@case
def static_tables_of_a_clients_own_vocabulary():
    def compute(words):
        indices = tf.range(tf.size(words, tf.int64), dtype=tf.int64)
        table = tf.lookup.StaticVocabularyTable(
            tf.lookup.KeyValueTensorInitializer(words, indices), 1
        )
        return table.lookup(tf.constant(["a", "b", "c"]))

    vocabularies = [np.array(list(w), object) for w in ("ab", "ba", "c")]
    return two_rounds(compute, WORDS, vocabularies)


@case
def tables_within_functions():
    @tf.function
    def insert(key):
        return size_after_insert(hash_table(), key)

    return two_rounds(insert, INT64, [5, 6, 7, 6])


@case
def tables_that_loops_use():
    def compute(numbers):
        table = hash_table()
        return numbers.reduce(
            tf.constant(0, tf.int64),
            lambda total, key: total + size_after_insert(table, key),
        )

    return two_rounds(compute, NUMBERS, [[1, 2, 3], [1], [4, 5]])


@case
def tables_of_one_name():
    def compute(key):
        first, second = (
            tf.raw_ops.MutableHashTableV2(
                key_dtype=tf.int64, value_dtype=tf.int64, shared_name="same"
            )
            for _ in range(2)
        )
        insert = tf.raw_ops.LookupTableInsertV2(
            table_handle=first, keys=[key], values=[key]
        )
        with tf.control_dependencies([insert]):
            return tf.raw_ops.LookupTableSizeV2(table_handle=second)

    return two_rounds(compute, INT64, [5, 6, 7, 6])


@case
def variables_that_start_with_an_argument():
    def compute(start):
        variable = tf.Variable(start)
        with tf.control_dependencies([variable.assign_add(start)]):
            return variable.read_value()

    return two_rounds(compute, INT64, [5, 6, 7, 6])


@case
def variables_of_tensorflow_1():
    def compute(key):
        variable = tf.compat.v1.get_variable("v", initializer=np.int64(5))
        with tf.control_dependencies([variable.assign_add(key)]):
            return variable.read_value()

    return two_rounds(compute, INT64, [5, 6, 7, 6])


@case
def generators_of_random_numbers():
    def compute(seed):
        generator = tf.random.Generator.from_seed(3)
        with tf.control_dependencies([generator.uniform([])]):
            return seed, generator.uniform([2])

    return two_rounds(compute, INT64, [5, 6, 7, 6])


def queues(make):
    def compute(x):
        queue = make(10, [tf.int64], shapes=[[]])
        with tf.control_dependencies([queue.enqueue(x)]):
            found = queue.dequeue()
        with tf.control_dependencies([found, queue.enqueue(x)]):
            return found, queue.size()

    return two_rounds(compute, INT64, [5, 6, 7, 6])


@case
def queues_in_order():
    return queues(tf.queue.FIFOQueue)


@case
def queues_that_pad():
    return queues(tf.queue.PaddingFIFOQueue)


@case
def variables_by_reference():
    def compute(x):
        variable = tf.compat.v1.Variable(x, use_resource=False)
        with tf.control_dependencies([tf.compat.v1.assign_add(variable, x)]):
            return variable.read_value()

    return two_rounds(compute, INT64, [5, 6, 7, 6])


@case
def stages():
    def compute(x):
        with tf.control_dependencies([tf.raw_ops.Stage(values=[x])]):
            return tf.raw_ops.StageSize(dtypes=[tf.int64])

    return two_rounds(compute, INT64, [5, 6, 7, 6])
