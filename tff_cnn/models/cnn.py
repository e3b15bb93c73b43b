"""Keras CNN builders: architecture and initial weights, no loss and no TFF.

A builder maps (image_shape, num_classes, seed) to an uncompiled
`tf.keras.Model` from float32 images [batch, height, width, channels], scaled
to [0, 1], to logits [batch, num_classes]. `seed` (an integer >= 0) fixes the
initial weights: Glorot uniform kernels and zero biases. Images that are too
small to leave a pixel are refused (`UsageError`).
"""

import tensorflow as tf

from tff_cnn.models.blocks import ImageShape, check_size, glorot_uniform


def digits_cnn(
    image_shape: ImageShape, num_classes: int, seed: int
) -> tf.keras.Model:
    """A CNN small enough to be trained with client-level privacy on digits.

    conv3x3-32 same, pool 2, dense: 5,450 parameters for 8x8x1 images and 10
    classes. One wide layer beats two narrow ones under noise, whose norm grows
    with the number of parameters (BUILD_NOTES.md). Images must be 2x2 or more.
    """
    check_size("digits_cnn", image_shape, 2)
    kernel = glorot_uniform(seed)
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
    1,663,370 parameters for 28x28x1 images and 10 classes. Images must be 4x4
    or more.
    """
    check_size("mcmahan_cnn", image_shape, 4)
    kernel = glorot_uniform(seed)
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
    Images must be 6x6 or more.
    """
    check_size("emnist_cnn", image_shape, 6)
    kernel = glorot_uniform(seed)
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
    check_size("tanh_cnn", image_shape, 13)
    kernel = glorot_uniform(seed)
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


def lenet5(
    image_shape: ImageShape, num_classes: int, seed: int
) -> tf.keras.Model:
    """LeNet-5 of LeCun et al. 1998, section II.B.

    conv5x5-6 same, mean pool 2, conv5x5-16 valid, mean pool 2, dense 120,
    dense 84, dense, with tanh: 61,706 parameters for 28x28x1 images and 10
    classes. (The paper pads 28x28 to 32x32 before a valid convolution.) As is
    usual today pools have no weights, the second convolution sees all channels
    and the outputs are linear. Images must be 12x12 or more.
    """
    check_size("lenet5", image_shape, 12)
    kernel = glorot_uniform(seed)
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(image_shape),
            _conv(6, 5, "same", kernel, activation="tanh"),
            tf.keras.layers.AveragePooling2D(2),
            _conv(16, 5, "valid", kernel, activation="tanh"),
            tf.keras.layers.AveragePooling2D(2),
            tf.keras.layers.Flatten(),
            _dense(120, "tanh", kernel),
            _dense(84, "tanh", kernel),
            _dense(num_classes, None, kernel),
        ],
        name="lenet5",
    )


def niid_cnn(
    image_shape: ImageShape, num_classes: int, seed: int
) -> tf.keras.Model:
    """The CNN of NIID-Bench (Li et al. 2022, section 5).

    conv5x5-6 valid, pool 2, conv5x5-16 valid, pool 2, dense 120, dense 84,
    dense: 44,426 parameters for 28x28x1 images and 10 classes, 62,006 for
    32x32x3. Images must be 16x16 or more.
    """
    check_size("niid_cnn", image_shape, 16)
    kernel = glorot_uniform(seed)
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(image_shape),
            _conv(6, 5, "valid", kernel),
            tf.keras.layers.MaxPool2D(2),
            _conv(16, 5, "valid", kernel),
            tf.keras.layers.MaxPool2D(2),
            tf.keras.layers.Flatten(),
            _dense(120, "relu", kernel),
            _dense(84, "relu", kernel),
            _dense(num_classes, None, kernel),
        ],
        name="niid_cnn",
    )


def cifar_cnn(
    image_shape: ImageShape, num_classes: int, seed: int
) -> tf.keras.Model:
    """The CNN of TensorFlow's tutorial "Convolutional Neural Network (CNN)".

    conv3x3-32 valid, pool 2, conv3x3-64 valid, pool 2, conv3x3-64 valid,
    dense 64, dense: 122,570 parameters for 32x32x3 images and 10 classes.
    Images must be 18x18 or more.
    """
    check_size("cifar_cnn", image_shape, 18)
    kernel = glorot_uniform(seed)
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(image_shape),
            _conv(32, 3, "valid", kernel),
            tf.keras.layers.MaxPool2D(2),
            _conv(64, 3, "valid", kernel),
            tf.keras.layers.MaxPool2D(2),
            _conv(64, 3, "valid", kernel),
            tf.keras.layers.Flatten(),
            _dense(64, "relu", kernel),
            _dense(num_classes, None, kernel),
        ],
        name="cifar_cnn",
    )


def wong_kolter_cnn(
    image_shape: ImageShape, num_classes: int, seed: int
) -> tf.keras.Model:
    """The CNN of Wong & Kolter 2018 (section 4.1), used in robust training.

    conv4x4-16 stride 2, conv4x4-32 stride 2, dense 100, dense: 166,406
    parameters for 28x28x1 images and 10 classes, and a twentieth of the
    products of `mcmahan_cnn`, so that many passes over a batch are cheap.
    """
    kernel = glorot_uniform(seed)
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(image_shape),
            _conv(16, 4, "same", kernel, strides=2),
            _conv(32, 4, "same", kernel, strides=2),
            tf.keras.layers.Flatten(),
            _dense(100, "relu", kernel),
            _dense(num_classes, None, kernel),
        ],
        name="wong_kolter_cnn",
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
