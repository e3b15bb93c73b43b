"""Rules of `vectorize` for convolutions and pooling.

Pooling has no weights: clients are more images. A convolution whose filters
differ from client to client is a product of matrices: of patches, [images x
positions, height x width x channels of the filter], with the filter,
[height x width x channels, filters], all clients in one batched product.
"""

import dataclasses

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import tensor_util

from tff_cnn.runtime.in_process.recording import emit
from tff_cnn.runtime.in_process.vectorize import (
    NotVectorizableError,
    Rule,
    Value,
    Walk,
)

# Of so few channels a pixel is too small to be copied by itself.
_FEW_CHANNELS = 3


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Where a filter is applied: (height, width) each.

    Attributes:
      size: Of the filter.
      strides: Steps between positions, >= 1.
      padding: Zeros (before, after) the image on each axis.
      image: Of the unpadded image.
    """

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    image: tuple[int, int]

    @property
    def positions(self) -> tuple[int, int]:
        return tuple(
            (image + sum(pad) - size) // stride + 1
            for image, pad, size, stride in zip(
                self.image, self.padding, self.size, self.strides, strict=True
            )
        )


def _geometry(op, image, size) -> Geometry:
    if op.get_attr("data_format") != b"NHWC":
        raise NotVectorizableError(f"{op.name} has channels first.")
    if set(op.get_attr("dilations")) != {1}:
        raise NotVectorizableError(f"{op.name} is dilated.")
    if None in image or None in size:
        raise NotVectorizableError(f"{op.name} has images of unknown size.")
    strides = tuple(op.get_attr("strides")[1:3])
    kind = op.get_attr("padding")
    if kind == b"VALID":
        padding = ((0, 0), (0, 0))
    elif kind == b"SAME":
        padding = tuple(map(_same_padding, image, size, strides))
    else:
        explicit = op.get_attr("explicit_paddings")
        padding = (tuple(explicit[2:4]), tuple(explicit[4:6]))
    return Geometry(tuple(size), strides, padding, tuple(image))


def _same_padding(image: int, size: int, stride: int) -> tuple[int, int]:
    positions = -(-image // stride)
    total = max((positions - 1) * stride + size - image, 0)
    return total // 2, total - total // 2


def merged(tensor: tf.Tensor) -> tf.Tensor:
    """Clients and their rows as one axis of rows."""
    shape = tf.shape(tensor)
    flat = tf.reshape(tensor, tf.concat([[-1], shape[2:]], 0))
    flat.set_shape([None, *tensor.shape[2:]])
    return flat


def _split_like(tensor: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """The reverse of `merged`: [rows, ...] to [clients, rows of each, ...]."""
    shape = tf.concat([tf.shape(like)[:2], tf.shape(tensor)[1:]], 0)
    split = tf.reshape(tensor, shape)
    split.set_shape([*like.shape[:2], *tensor.shape[1:]])
    return split


def _pool(walk: Walk, op, arguments: list[Value]):
    tensors = [walk.stacked(argument) for argument in arguments]
    (result,) = emit(op, [merged(tensor) for tensor in tensors])
    return [_split_like(result, tensors[0])]


def _max_pool_grad(walk: Walk, op, arguments: list[Value]):
    """Each window's gradient goes to the first of its largest pixels.

    Windows that do not overlap are taken apart into their pixels: several
    times as fast as TensorFlow's own kernel on a CPU.
    """
    images, pooled, gradient = map(walk.stacked, arguments)
    down, across = op.get_attr("ksize")[1:3]
    height, width, channels = images.shape[2:]
    if (
        op.get_attr("ksize") != op.get_attr("strides")
        or None in (height, width, channels)
        or height % down
        or width % across
        or op.get_attr("padding") == b"EXPLICIT"
        or op.get_attr("data_format") != b"NHWC"
    ):
        return _pool(walk, op, arguments)
    rows = tf.unstack(tf.reshape(images, [-1, down, width * channels]), axis=1)
    pixels = [
        pixel
        for row in rows
        for pixel in tf.unstack(tf.reshape(row, [-1, across, channels]), axis=1)
    ]
    largest = tf.reshape(pooled, [-1, channels])
    left = tf.reshape(gradient, [-1, channels])
    zeros = tf.zeros_like(left)
    shares = []
    for pixel in pixels[:-1]:
        share = tf.where(pixel == largest, left, zeros)
        left -= share
        shares.append(share)
    shares.append(left)
    rows = [
        tf.reshape(
            tf.stack(shares[start : start + across], axis=1),
            [-1, width * channels],
        )
        for start in range(0, down * across, across)
    ]
    return [tf.reshape(tf.stack(rows, axis=1), tf.shape(images))]


def _average_pool_grad(walk: Walk, op, arguments: list[Value]):
    shape, gradient = arguments
    flat = merged(gradient.tensor)
    sizes = tf.concat([tf.shape(flat)[:1], shape.tensor[1:]], 0)
    (result,) = emit(op, [sizes, flat])
    return [_split_like(result, gradient.tensor)]


def _conv2d(walk: Walk, op, arguments: list[Value]):
    images, filters = arguments
    if not filters.is_stacked:
        (result,) = emit(op, [merged(images.tensor), filters.tensor])
        return [_split_like(result, images.tensor)]
    images = walk.stacked(images)
    geometry = _geometry(op, images.shape[2:4], filters.tensor.shape[1:3])
    _check_ungrouped(op, images.shape[4], filters.tensor.shape[3])
    return [_convolve(walk, images, filters.tensor, geometry)]


def _conv2d_backprop_filter(walk: Walk, op, arguments: list[Value]):
    images, sizes, gradient = arguments
    images, gradient = walk.stacked(images), walk.stacked(gradient)
    sizes = [int(s) for s in _static(op, sizes)]
    _check_ungrouped(op, images.shape[4], sizes[2])
    geometry = _geometry(op, images.shape[2:4], sizes[:2])
    product = tf.matmul(
        _patches(walk, images, geometry), _flat(gradient), transpose_a=True
    )
    shape = [-1, *sizes]
    return [tf.reshape(product, shape)]


def _conv2d_backprop_input(walk: Walk, op, arguments: list[Value]):
    """A convolution of the gradient with the filters turned round."""
    sizes, filters, gradient = arguments
    gradient = walk.stacked(gradient)
    height, width, channels = _static(op, sizes)[1:]
    if not filters.is_stacked:
        flat = merged(gradient)
        shape = tf.stack([tf.shape(flat)[0], height, width, channels])
        (result,) = emit(op, [shape, filters.tensor, flat])
        return [_split_like(result, gradient)]
    size = filters.tensor.shape[1:3]
    _check_ungrouped(op, channels, filters.tensor.shape[3])
    forward = _geometry(op, (height, width), size)
    spread = _dilated(gradient, forward.strides)
    # Each pixel of the image is seen by the positions up to a filter's size
    # before it.
    padding = tuple(
        (s - 1 - before, image + before - 1 - (dilated - 1))
        for s, (before, _), image, dilated in zip(
            forward.size,
            forward.padding,
            forward.image,
            spread.shape[2:4],
            strict=True,
        )
    )
    spread, padding = _cropped(spread, padding)
    backward = Geometry(forward.size, (1, 1), padding, tuple(spread.shape[2:4]))
    turned = tf.transpose(
        tf.reverse(filters.tensor, axis=[1, 2]), [0, 1, 2, 4, 3]
    )
    return [_convolve(walk, spread, turned, backward)]


def _convolve(walk, images, filters, geometry) -> tf.Tensor:
    """[clients, rows, ...] with filters [clients, height, width, in, out]."""
    height, width, channels, num_filters = filters.shape[1:]
    kernel = tf.reshape(filters, [-1, height * width * channels, num_filters])
    product = tf.matmul(_patches(walk, images, geometry), kernel)
    lead = tf.shape(images)[:2]
    result = tf.reshape(
        product, tf.concat([lead, [*geometry.positions, num_filters]], 0)
    )
    result.set_shape([*images.shape[:2], *geometry.positions, num_filters])
    return result


def _patches(walk: Walk, images: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """What a filter sees: [clients, rows x positions, filter's inputs].

    Made once for the convolution and for the gradient of its filters.
    """
    return walk.share(
        (images.ref(), geometry), lambda: _make_patches(images, geometry)
    )


def _make_patches(images, geometry: Geometry) -> tf.Tensor:
    flat = merged(images)
    channels = images.shape[4]
    inputs = geometry.size[0] * geometry.size[1] * channels
    if channels <= _FEW_CHANNELS:
        patches = _convolved_with_identity(flat, geometry, inputs)
    else:
        patches = _gathered(flat, geometry)
    shape, (down, across) = tf.shape(images), geometry.positions
    patches = tf.reshape(patches, [shape[0], shape[1] * down * across, inputs])
    return patches


def _convolved_with_identity(images, geometry: Geometry, inputs: int):
    """Patches of few channels, which would be copied number by number."""
    identity = tf.reshape(
        tf.eye(inputs, dtype=images.dtype), [*geometry.size, -1, inputs]
    )
    padding = [(0, 0), *geometry.padding, (0, 0)]
    return tf.nn.conv2d(images, identity, geometry.strides, padding)


def _gathered(images, geometry: Geometry) -> tf.Tensor:
    """[rows, positions x size, channels]: pixels in the patches' order."""
    channels = images.shape[3]
    padded = tf.pad(images, [(0, 0), *geometry.padding, (0, 0)])
    height, width = padded.shape[1:3]
    pixels = np.arange(height * width, dtype=np.int32).reshape(height, width)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, geometry.size)
    windows = windows[:: geometry.strides[0], :: geometry.strides[1]]
    flat = tf.reshape(padded, [-1, height * width, channels])
    return tf.gather(flat, windows.ravel(), axis=1)


def _flat(gradient: tf.Tensor) -> tf.Tensor:
    """[clients, rows, height, width, channels] to one axis of positions."""
    shape = tf.shape(gradient)
    return tf.reshape(
        gradient,
        [shape[0], tf.reduce_prod(shape[1:4]), gradient.shape[4]],
    )


def _dilated(gradient: tf.Tensor, strides: tuple[int, int]) -> tf.Tensor:
    """Zeros between the positions of a gradient: as if strides were one."""
    for axis, stride in zip((2, 3), strides, strict=True):
        if stride == 1:
            continue
        size = gradient.shape[axis]
        spread = tf.expand_dims(gradient, axis + 1)
        padding = [(0, 0)] * spread.shape.rank
        padding[axis + 1] = (0, stride - 1)
        shape = tf.shape(gradient)
        spread = tf.reshape(
            tf.pad(spread, padding),
            tf.concat([shape[:axis], [size * stride], shape[axis + 1 :]], 0),
        )
        keep = [slice(None)] * axis + [slice(0, (size - 1) * stride + 1)]
        gradient_shape = gradient.shape.as_list()
        gradient = spread[tuple(keep)]
        gradient_shape[axis] = (size - 1) * stride + 1
        gradient.set_shape(gradient_shape)
    return gradient


def _cropped(gradient, padding):
    """Negative padding is cropping."""
    crops = [
        slice(max(-before, 0), size - max(-after, 0))
        for (before, after), size in zip(
            padding, gradient.shape[2:4], strict=True
        )
    ]
    gradient = gradient[:, :, crops[0], crops[1]]
    return gradient, tuple((max(b, 0), max(a, 0)) for b, a in padding)


def _static(op, sizes: Value) -> list[int]:
    """A shape's sizes as far as they are known before running."""
    if sizes.is_stacked:
        raise NotVectorizableError(f"{op.name} has images of different sizes.")
    return tensor_util.constant_value_as_shape(sizes.tensor).as_list()


def _check_ungrouped(op, channels: int, filter_channels: int) -> None:
    if channels != filter_channels:
        raise NotVectorizableError(f"{op.name} is a grouped convolution.")


RULES: dict[str, Rule] = {
    "MaxPool": _pool,
    "MaxPoolGrad": _max_pool_grad,
    "AvgPool": _pool,
    "AvgPoolGrad": _average_pool_grad,
    "Conv2D": _conv2d,
    "Conv2DBackpropFilter": _conv2d_backprop_filter,
    "Conv2DBackpropInput": _conv2d_backprop_input,
}
