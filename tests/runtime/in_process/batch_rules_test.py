"""Each rule against a loop over clients."""

import numpy as np
import pytest
import tensorflow as tf

from tests.runtime.in_process.vectorize_test import check, floats

INTEGERS = np.random.default_rng(1).integers(0, 4, (3, 5)).astype(np.int32)

CASES = {
    "aligned": (lambda x, y: x + y, floats(3, 2, 4), floats(3, 4)),
    "where": (
        lambda x, y: tf.where(x > 0, x, y),
        floats(3, 2, 4),
        floats(3, 1),
    ),
    "divide": (tf.math.divide_no_nan, floats(3, 4), floats(3, 4)),
    "axes": (
        lambda x: [
            tf.reduce_sum(x, 0),
            tf.reduce_mean(x, -1, keepdims=True),
            tf.reduce_max(x),
            tf.argmax(x, axis=-1),
            tf.cumsum(x, 0),
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
    "shapes": (
        lambda x: [
            tf.reshape(x, [-1, 2]),
            tf.transpose(x, [2, 0, 1]),
            tf.expand_dims(x, 0),
            tf.expand_dims(x, -1),
            tf.tile(x, [2, 1, 1]),
            tf.squeeze(x[:1], 0),
            tf.pad(x, [(1, 0), (0, 2), (0, 0)]),
        ],
        floats(3, 2, 4, 2),
    ),
    "slices": (
        lambda x: [
            x[1:],
            x[:, -1],
            x[::2, tf.newaxis, 1],
            x[..., 0],
            tf.slice(x, [0, 1], [2, -1]),
        ],
        floats(3, 4, 5),
    ),
    "lists": (
        lambda x, y: [
            tf.stack([x, y], 1),
            tf.stack([x, tf.zeros([4, 5])], -1),
            tf.concat([x, y], -1),
            *tf.unstack(x, axis=1),
            *tf.split(y, 2, axis=0),
        ],
        floats(3, 4, 5),
        floats(3, 4, 5),
    ),
    "gather_own": (tf.gather, floats(3, 6, 2), INTEGERS),
    "gather_axis": (
        lambda x, i: tf.gather(x, i, axis=1),
        floats(3, 2, 6),
        INTEGERS,
    ),
    "gather_batched": (
        lambda x, i: tf.gather(x, i, batch_dims=1),
        floats(3, 5, 6),
        INTEGERS,
    ),
    "gather_batched_shared_indices": (
        lambda x: tf.gather(x, [[3, 1], [0, 2]], batch_dims=1),
        floats(3, 2, 6),
    ),
    "gather_batched_axis": (
        lambda x: tf.gather(x, [[3, 1], [0, 2]], axis=2, batch_dims=1),
        floats(3, 2, 5, 6),
    ),
    "gather_shared_params_batched": (
        lambda i: tf.gather(
            tf.reshape(tf.range(20.0), [5, 4]), i[:, tf.newaxis], batch_dims=1
        ),
        INTEGERS,
    ),
    "gather_shared_params_axis": (
        lambda i: tf.gather(tf.reshape(tf.range(8.0), [2, 4]), i, axis=1),
        INTEGERS,
    ),
    "gather_shared_indices": (
        lambda x: tf.gather(x, [3, 1], axis=1),
        floats(3, 2, 6),
    ),
    "gather_shared_params": (
        lambda i: tf.gather(tf.reshape(tf.range(8.0), [4, 2]), i),
        INTEGERS,
    ),
    "one_hot": (
        lambda i: [tf.one_hot(i, 4), tf.one_hot(i, 4, axis=0)],
        INTEGERS,
    ),
    "top_k": (lambda x: list(tf.math.top_k(x, 2)), floats(3, 2, 6)),
    "fill": (
        lambda x: [tf.fill([2, 3], x[0]), tf.broadcast_to(x, [2, 4])],
        floats(3, 4),
    ),
    "casts": (
        lambda x: [tf.cast(x, tf.int32), tf.ones_like(x), tf.add_n([x, x])],
        floats(3, 4),
    ),
    "activations": (
        lambda x: [f(x) for f in (tf.nn.elu, tf.nn.gelu, tf.nn.softplus)],
        floats(3, 4),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_a_loop_over_clients(name):
    function, *arguments = CASES[name]
    check(function, *arguments)


@pytest.mark.parametrize(
    "name", ["aligned", "matmul", "bias", "gather_own", "batch_matmul"]
)
@pytest.mark.parametrize("shared", [0, 1])
def test_equals_a_loop_where_one_argument_is_shared(name, shared):
    function, *arguments = CASES[name]
    is_stacked = [True, True]
    is_stacked[shared] = False
    arguments[shared] = arguments[shared][0]
    check(function, *arguments, is_stacked=is_stacked)
