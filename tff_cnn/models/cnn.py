"""Keras CNN builders: architecture and initial weights, no loss and no TFF.

A builder maps (image_shape, num_classes, seed) to an uncompiled
`tf.keras.Model` from float32 images [batch, height, width, channels], scaled
to [0, 1], to logits [batch, num_classes]. `seed` (an integer >= 0) fixes the
initial weights: Glorot uniform kernels and zero biases.
"""

import itertools

import tensorflow as tf

ImageShape = tuple[int, int, int]


def digits_cnn(
    image_shape: ImageShape, num_classes: int, seed: int
) -> tf.keras.Model:
    """A CNN small enough to be trained with client-level privacy on digits.

    conv3x3-32 same, pool 2, dense: 5,450 parameters for 8x8x1 images and 10
    classes. One wide layer beats two narrow ones under noise, whose norm grows
    with the number of parameters (BUILD_NOTES.md). Images must be 2x2 or more.
    """
    kernel = _kernel_initializers(seed)
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(image_shape),
            _conv(32, 3, "same", kernel),
            tf.keras.layers.MaxPool2D(2),
            tf.keras.layers.Flatten(),
            _dense(num_classes, None, kernel),
        ],
        name="digits_cnn",
    )


def mcmahan_cnn(
    image_shape: ImageShape, num_classes: int, seed: int
) -> tf.keras.Model:
    """The MNIST CNN of McMahan et al. 2017, section 3.

    conv5x5-32 same, pool 2, conv5x5-64 same, pool 2, dense 512, dense:
    1,663,370 parameters for 28x28x1 images and 10 classes.
    """
    kernel = _kernel_initializers(seed)
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(image_shape),
            _conv(32, 5, "same", kernel),
            tf.keras.layers.MaxPool2D(2),
            _conv(64, 5, "same", kernel),
            tf.keras.layers.MaxPool2D(2),
            tf.keras.layers.Flatten(),
            _dense(512, "relu", kernel),
            _dense(num_classes, None, kernel),
        ],
        name="mcmahan_cnn",
    )


def emnist_cnn(
    image_shape: ImageShape, num_classes: int, seed: int
) -> tf.keras.Model:
    """The EMNIST CNN of Reddi et al. 2021, appendix A.3.

    conv3x3-32 valid, conv3x3-64 valid, pool 2, dropout .25, dense 128,
    dropout .5, dense: 1,199,882 parameters for 28x28x1 images and 10 classes.
    """
    kernel = _kernel_initializers(seed)
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(image_shape),
            _conv(32, 3, "valid", kernel),
            _conv(64, 3, "valid", kernel),
            tf.keras.layers.MaxPool2D(2),
            tf.keras.layers.Dropout(0.25),
            tf.keras.layers.Flatten(),
            _dense(128, "relu", kernel),
            tf.keras.layers.Dropout(0.5),
            _dense(num_classes, None, kernel),
        ],
        name="emnist_cnn",
    )


def tanh_cnn(
    image_shape: ImageShape, num_classes: int, seed: int
) -> tf.keras.Model:
    """The MNIST CNN of Papernot et al. 2021, Table 1; Tramer & Boneh 2021.

    conv8x8-16 stride 2 same, max pool 2 stride 1, conv4x4-32 stride 2 valid,
    max pool 2 stride 1, dense 32, dense: 26,010 parameters for 28x28x1 images
    and 10 classes. Its tanh bounds activations, and so gradients, which loses
    less to clipping than ReLU. Images must be 13x13 or more.
    """
    kernel = _kernel_initializers(seed)
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(image_shape),
            _conv(16, 8, "same", kernel, strides=2, activation="tanh"),
            tf.keras.layers.MaxPool2D(2, 1),
            _conv(32, 4, "valid", kernel, strides=2, activation="tanh"),
            tf.keras.layers.MaxPool2D(2, 1),
            tf.keras.layers.Flatten(),
            _dense(32, "tanh", kernel),
            _dense(num_classes, None, kernel),
        ],
        name="tanh_cnn",
    )


def _kernel_initializers(seed: int):
    """One differently seeded initializer a layer."""
    return (
        tf.keras.initializers.GlorotUniform(seed=seed + layer)
        for layer in itertools.count()
    )


def _conv(
    filters, size, padding, kernel_initializers, strides=1, activation="relu"
) -> tf.keras.layers.Layer:
    return tf.keras.layers.Conv2D(
        filters,
        size,
        strides,
        padding=padding,
        activation=activation,
        kernel_initializer=next(kernel_initializers),
    )


def _dense(units, activation, kernel_initializers) -> tf.keras.layers.Layer:
    return tf.keras.layers.Dense(
        units,
        activation=activation,
        kernel_initializer=next(kernel_initializers),
    )
