"""Convolutions and pooling of many clients against a loop over them."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.in_process.vectorize_test import check, floats


def conv_and_gradients(strides, padding):
    def compute(images, filters):
        with tf.GradientTape() as tape:
            tape.watch([images, filters])
            result = tf.nn.conv2d(images, filters, strides, padding)
            # A weight for each output, so that gradients tell them apart.
            weights = tf.sin(tf.cast(tf.range(tf.size(result)), tf.float32))
            loss = tf.reduce_sum(result * tf.reshape(weights, tf.shape(result)))
        return result, *tape.gradient(loss, [images, filters])

    return compute


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(
        ["SAME", "VALID", [(0, 0), (1, 2), (0, 1), (0, 0)]]
    ),
    channels=st.sampled_from([1, 3, 5]),
)
def test_convolution_and_its_gradients(
    size, kernel, strides, padding, channels
):
    check(
        conv_and_gradients(strides, padding),
        floats(2, 3, *size, channels),
        floats(2, *kernel, channels, 4),
        atol=1e-4,
    )


@pytest.mark.parametrize("shared", [0, 1])
def test_convolution_where_one_argument_is_shared(shared):
    arguments = [floats(2, 3, 5, 5, 2), floats(2, 3, 3, 2, 4)]
    is_stacked = [True, True]
    is_stacked[shared] = False
    arguments[shared] = arguments[shared][0]
    check(
        conv_and_gradients(1, "SAME"),
        *arguments,
        is_stacked=is_stacked,
        atol=1e-4,
    )


def pool_and_gradient(pool, size, strides, padding):
    def compute(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            result = pool(images, size, strides, padding)
            weights = tf.sin(tf.cast(tf.range(tf.size(result)), tf.float32))
            loss = tf.reduce_sum(result * tf.reshape(weights, tf.shape(result)))
        return result, tape.gradient(loss, images)

    return compute


@pytest.mark.parametrize("pool", [tf.nn.max_pool2d, tf.nn.avg_pool2d])
@pytest.mark.parametrize(
    ("size", "strides", "padding"),
    [
        (2, 2, "VALID"),
        (2, 2, "SAME"),
        (3, 3, "VALID"),
        ((2, 3), (2, 3), "VALID"),
        (3, 2, "SAME"),
        (2, 1, "VALID"),
    ],
)
def test_pooling_and_its_gradient(pool, size, strides, padding):
    compute = pool_and_gradient(pool, size, strides, padding)
    check(compute, floats(2, 3, 6, 6, 2))
    check(compute, floats(2, 3, 7, 5, 2))


def test_of_equal_pixels_the_first_gets_the_gradient():
    # As TensorFlow does: common in flat areas of an image.
    images = np.round(floats(2, 3, 6, 6, 2))
    check(pool_and_gradient(tf.nn.max_pool2d, 2, 2, "VALID"), images)
    check(
        pool_and_gradient(tf.nn.max_pool2d, 2, 2, "VALID"),
        np.zeros_like(images),
    )
