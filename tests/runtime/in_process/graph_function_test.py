"""See the contract of runtimes for what graphs compute."""

import concurrent.futures
import contextlib

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process.graph_function import GraphFunction


def function_of(computation) -> GraphFunction:
    return GraphFunction(computation.to_building_block())


def test_a_single_element_is_given_without_a_dataset():
    @tff.tensorflow.computation(tff.SequenceType(np.float32), np.float32)
    def scaled(data, factor):
        return data.get_single_element() * factor

    @tff.tensorflow.computation(tff.SequenceType(np.float32))
    def total(data):
        return data.reduce(0.0, tf.add)

    function = function_of(scaled)
    assert function.takes_element == [True, False]
    (result,) = function([[tf.constant(3.0)], tf.constant(2.0)])
    assert float(result) == 6.0
    assert function_of(total).takes_element == [False]


def test_inputs_that_are_results_pass_through():
    @tff.tensorflow.computation(np.int32, np.int32)
    def swap(a, b):
        return b, a

    results = function_of(swap)([tf.constant(1), tf.constant(2)])
    assert [int(r) for r in results] == [2, 1]


def test_each_concurrent_call_has_variables_of_its_own():
    @tff.tensorflow.computation(np.int32)
    def count(start):
        variable = tf.Variable(0)
        with contextlib.ExitStack() as before:
            before.enter_context(
                tf.control_dependencies([variable.assign(start)])
            )
            for _ in range(50):
                add = variable.assign_add(1)
                before.enter_context(tf.control_dependencies([add]))
            return variable.read_value()

    function = function_of(count)
    call = tf.function(lambda start: function([start]))
    call(tf.constant(0))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda i: int(call(tf.constant(i))[0]), range(40))
        assert list(results) == [i + 50 for i in range(40)]


def test_graphs_with_functions_of_the_same_name_do_not_mix():
    def build(factor):
        @tff.tensorflow.computation(np.float32)
        def compute(x):
            @tf.function
            def body(x):
                return factor * x

            return body(x)

        return function_of(compute)

    functions = [build(2.0), build(3.0)]
    for function, expected in zip(functions, (10.0, 15.0), strict=True):
        assert float(function([tf.constant(5.0)])[0]) == expected
