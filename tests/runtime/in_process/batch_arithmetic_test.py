"""Each rule against a loop over clients."""

import numpy as np
import pytest
import tensorflow as tf

from tests.runtime.in_process.vectorize_test import check, floats

RNG = np.random.default_rng(2)
POSITIVE = np.abs(floats(3, 2, 4)) + 0.1
BOOLS = RNG.random((3, 2)) < 0.5

CASES = {
    "aligned": (lambda x, y: x + y, floats(3, 2, 4), floats(3, 4)),
    "where": (
        lambda x, y: tf.where(x > 0, x, y),
        floats(3, 2, 4),
        floats(3, 1),
    ),
    "divide": (tf.math.divide_no_nan, floats(3, 4), floats(3, 4)),
    "angles": (tf.atan2, floats(3, 2, 4), floats(3, 4)),
    "axes": (
        lambda x: [
            tf.reduce_sum(x, 0),
            tf.reduce_mean(x, -1, keepdims=True),
            tf.reduce_max(x),
            tf.argmax(x, axis=-1),
            tf.cumsum(x, 0),
            tf.math.cumprod(x, -1, reverse=True),
            tf.math.cumulative_logsumexp(x, 1),
            tf.math.reduce_euclidean_norm(x, 1),
            tf.reverse(x, [1]),
        ],
        floats(3, 4, 5),
    ),
    "all_any": (
        lambda x: [tf.reduce_all(x > -1), tf.reduce_any(x > 1, 1)],
        floats(3, 4, 5),
    ),
    "l2_loss": (tf.nn.l2_loss, floats(3, 4, 5)),
    "matmul": (
        lambda a, b: [
            tf.matmul(a, b, transpose_b=True),
            tf.matmul(a, b, transpose_a=True),
        ],
        floats(3, 4, 4),
        floats(3, 4, 4),
    ),
    "batch_matmul": (tf.matmul, floats(3, 2, 4, 5), floats(3, 2, 5, 6)),
    "bias": (tf.nn.bias_add, floats(3, 2, 4, 4, 5), floats(3, 5)),
    "dense_bias": (tf.nn.bias_add, floats(3, 2, 5), floats(3, 5)),
    "bias_gradient": (
        lambda g: tf.raw_ops.BiasAddGrad(out_backprop=g),
        floats(3, 2, 4, 4, 5),
    ),
    "cross_entropy": (
        lambda logits: tf.nn.softmax_cross_entropy_with_logits(
            tf.nn.softmax(logits * 2), logits
        ),
        floats(3, 2, 5),
    ),
    "casts": (
        lambda x: [tf.cast(x, tf.int32), tf.ones_like(x), tf.add_n([x, x])],
        floats(3, 4),
    ),
    # Of the same size, of a smaller and of a larger one: axes at the end.
    "bitcasts": (
        lambda x: [
            tf.bitcast(x, tf.int32),
            tf.bitcast(x, tf.uint8),
            tf.bitcast(x, tf.int64),
        ],
        floats(3, 4, 2),
    ),
    "identities": (
        lambda x, y: tf.raw_ops.IdentityN(input=[x, y, tf.constant([1, 2])]),
        floats(3, 4),
        floats(3, 2, 4),
    ),
    "clip": (
        lambda x, low: [
            tf.clip_by_value(x, -0.5, 0.5),
            tf.clip_by_value(x, low, low + 1),
        ],
        floats(3, 2, 4),
        floats(3),
    ),
    "select": (
        lambda rows, x, y: [
            tf.raw_ops.Select(condition=rows, x=x, y=y),
            tf.raw_ops.Select(condition=rows[0], x=x, y=y),
            tf.raw_ops.Select(condition=x > y, x=x, y=y),
        ],
        BOOLS,
        floats(3, 2, 4),
        floats(3, 2, 4),
    ),
    "special_functions": (
        lambda x: [
            f(x)
            for f in (
                tf.math.erf,
                tf.math.erfc,
                tf.math.lgamma,
                tf.math.digamma,
                tf.tan,
                tf.sinh,
                tf.asinh,
                tf.atan,
            )
        ],
        POSITIVE,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_a_loop_over_clients(name):
    function, *arguments = CASES[name]
    check(function, *arguments)


@pytest.mark.parametrize("name", ["aligned", "matmul", "bias", "batch_matmul"])
@pytest.mark.parametrize("shared", [0, 1])
def test_equals_a_loop_where_one_argument_is_shared(name, shared):
    function, *arguments = CASES[name]
    is_stacked = [True, True]
    is_stacked[shared] = False
    arguments[shared] = arguments[shared][0]
    check(function, *arguments, is_stacked=is_stacked)


@pytest.mark.parametrize("shared", [None, 0, 1, 2])
def test_select_where_one_argument_is_shared(shared):
    function, *arguments = CASES["select"]
    is_stacked = [True] * 3
    if shared is not None:
        is_stacked[shared] = False
        arguments[shared] = arguments[shared][0]
    check(function, *arguments, is_stacked=is_stacked)


ACTIVATIONS = "elu gelu softplus selu softsign relu relu6 leaky_relu".split()


def test_activations_and_their_gradients():
    def compute(x):
        values, gradients = [], []
        for name in ACTIVATIONS:
            with tf.GradientTape() as tape:
                tape.watch(x)
                values.append(getattr(tf.nn, name)(x))
                total = tf.reduce_sum(values[-1] ** 2)
            gradients.append(tape.gradient(total, x))
        return values, gradients

    check(compute, 3 * floats(3, 4, 5))


EQUATIONS = {
    "bhwc,cd->bhwd": ((2, 3, 3, 4), (4, 5)),
    "aecd,abcd->acbe": ((2, 3, 4, 5), (2, 6, 4, 5)),
    "...ab,bc->...ac": ((2, 3, 4), (4, 5)),
    "ab,...b->...a": ((3, 4), (2, 2, 4)),
    "ab,ab->": ((3, 4), (3, 4)),
    "ab,cd->b": ((3, 4), (2, 2)),
}


@pytest.mark.parametrize("is_stacked", [(1, 1), (1, 0), (0, 1)])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum_and_its_gradient(equation, is_stacked):
    def compute(x, y):
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            result = tf.einsum(equation, x, y)
            total = tf.reduce_sum(tf.sin(result))
        return result, *tape.gradient(total, [x, y])

    arguments = [
        floats(3, *shape) if flag else floats(*shape)
        for shape, flag in zip(EQUATIONS[equation], is_stacked, strict=True)
    ]
    check(compute, *arguments, is_stacked=is_stacked, atol=1e-5)


def test_einsum_of_one_argument():
    check(lambda x: tf.einsum("aab->ba", x), floats(3, 4, 4, 2))
