import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.runtime.in_process import products

SCALE = np.float32(0.5)


def recorded(compute, *arguments):
    """The function before and after, and the operations after."""

    def rewritten(*tensors):
        outputs = compute(*tensors)
        products.scale_factors(tf.compat.v1.get_default_graph())
        return outputs

    specs = [tf.TensorSpec(np.shape(a), tf.float32) for a in arguments]
    before, after = (
        tf.function(f, input_signature=specs).get_concrete_function()
        for f in (compute, rewritten)
    )
    for a, b in zip(before(*arguments), after(*arguments), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    return after.graph


def shape_of_scaled(graph):
    """Shapes of what the multiplications that are read produce."""
    return [
        op.outputs[0].shape.as_list()
        for op in graph.get_operations()
        if op.type == "Mul" and op.outputs[0].consumers()
    ]


def factors(rows, columns):
    rng = np.random.default_rng(0)
    left, right = rng.random((rows, 3)), rng.random((3, columns))
    return np.float32(left), np.float32(right), np.ones((rows, columns), "f")


@pytest.mark.parametrize(
    ("rows", "columns", "scaled"), [(7, 5, [3, 5]), (5, 7, [5, 3])]
)
@pytest.mark.parametrize("scale_first", [True, False])
def test_the_smaller_factor_is_scaled(rows, columns, scaled, scale_first):
    def step(left, right, weights):
        product = tf.identity(left @ right)
        scaled = SCALE * product if scale_first else product * SCALE
        return [weights - scaled]

    graph = recorded(step, *factors(rows, columns))
    assert shape_of_scaled(graph) == [scaled]


def test_stacked_and_reshaped_products():
    def step(left, right, weights):
        product = tf.matmul(tf.stack([left, left]), tf.stack([right, right]))
        return [
            tf.stack([weights, weights])
            - SCALE * tf.reshape(product, [2, 7, 5])
        ]

    graph = recorded(step, *factors(7, 5))
    assert shape_of_scaled(graph) == [[2, 3, 5]]


def test_a_product_that_something_else_reads_stays():
    def step(left, right, weights):
        product = left @ right
        return [weights - SCALE * product, weights + product]

    graph = recorded(step, *factors(7, 5))
    assert shape_of_scaled(graph) == [[7, 5]]


def test_a_scaling_that_is_returned_too_stays_right():
    def step(left, right, weights):
        scaled = SCALE * (left @ right)
        return [scaled, weights - scaled]

    recorded(step, *factors(7, 5))


def test_a_product_with_something_that_is_no_scalar_stays():
    def step(left, right, weights):
        return [weights - weights * (left @ right)]

    graph = recorded(step, *factors(7, 5))
    assert shape_of_scaled(graph) == [[7, 5]]
