"""Norms and clipped sums of per-example gradients that are never formed.

Of example n, a linear layer's kernel has the gradient A_n^T D_n, where row t of
A_n [T, k] is what the layer saw at position t (a convolution's patch; a dense
layer has one position) and row t of D_n [T, c] the gradient of its output
there. Its squared norm is a sum over pairs of positions,

    ||A_n^T D_n||^2 = <A_n A_n^T, D_n D_n^T>,

the ghost norm (Goodfellow 2015; Li et al. 2022, "Large Language Models Can Be
Strong Differentially Private Learners", section 4; for convolutions Bu et al.
2022, "Scalable and Efficient Training of Large Convolutional Neural Networks
with Differential Privacy"). It costs 2 T^2 numbers an example instead of k c.
Where that is more, as in first layers with their many positions and few
weights, A_n^T D_n itself is the smaller (Bu et al. 2022, section 3: choose per
layer). The clipped sum of factors s_n is sum_n A_n^T (s_n D_n), one matrix
product, so that no second backward pass is needed (Bu et al. 2023,
"book-keeping").

Privacy must hold for any numbers: weights that have diverged, or an example
made for it. So A_n and D_n are held divided by their largest entries, which
leaves nothing that could overflow; products of those entries, norms and factors
are numbers of float64, whose exponents are eight times as large. An example
for which any number is not finite counts as one whose gradient is zero: that is
a choice that depends on this example alone.
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from tff_cnn.models.taps import Tap

# TensorFlow extracts patches number by number where there are few channels;
# on a CPU a convolution with an identity is then five times as fast.
_FEW_CHANNELS = 4


# Where A_n^T D_n cancels to less than this share of |A_n| |D_n|, rounding would
# decide its norm, and the sum's error would not be small beside the clip. Its
# norm is then taken to be this share, so that it is clipped to less.
_LEAST_SHARE = 1 / 128

# Of the norm of what has been divided by its largest entry: squares of what is
# smaller vanish in float32.
_LEAST_NORM = 2.0**-40


class LayerGradients:
    """The gradients of one layer's kernel and bias, example by example.

    Attributes:
      is_finite: bool, [batch]: whether all numbers of an example are.
    """

    def __init__(self, tap: Tap, inputs: tf.Tensor, output_grads: tf.Tensor):
        """Args:
        tap: The layer.
        inputs: What it saw, [batch, ...].
        output_grads: Gradient of each example's loss with respect to the
          layer's output before the activation, [batch, ..., c].
        """
        self._tap = tap
        num_inputs, num_outputs = _matrix_shape(tap)
        self.is_finite = _is_finite(inputs) & _is_finite(output_grads)
        inputs, input_scale = _scaled(inputs, self.is_finite)
        output_grads, self._bias_scale = _scaled(output_grads, self.is_finite)
        self._scale = input_scale * self._bias_scale
        if tap.is_convolution:
            inputs = _patches(tap, inputs)
        positions = math.prod(tap.output_shape[1:-1])
        self._a = tf.reshape(inputs, [-1, positions, num_inputs])
        self._d = tf.reshape(output_grads, [-1, positions, num_outputs])
        self._bias_grads = tf.reduce_sum(self._d, 1)
        self._kernel_grads = None
        if is_direct(tap):
            self._kernel_grads = tf.matmul(self._a, self._d, transpose_a=True)

    def squared_norms(self) -> tf.Tensor:
        """Squared norm of each example's gradient, kernel and bias together.

        Returns:
          float64, [batch]; 0 where the example is not finite. Never less than
          the truth, rounding aside, and more only where rounding would decide.
        """
        a_norms = tf.reduce_sum(tf.square(self._a), [1, 2])
        d_norms = tf.reduce_sum(tf.square(self._d), [1, 2])
        if self._kernel_grads is not None:
            norms = tf.reduce_sum(tf.square(self._kernel_grads), [1, 2])
        elif self._a.shape[1] == 1:
            norms = a_norms * d_norms
        else:
            gram_a = tf.matmul(self._a, self._a, transpose_b=True)
            gram_d = tf.matmul(self._d, self._d, transpose_b=True)
            norms = tf.maximum(
                tf.reduce_sum(gram_a * gram_d, [1, 2]),
                _LEAST_SHARE**2 * a_norms * d_norms,
            )
        norms = _unscaled(norms, self._scale)
        if self._tap.bias is not None:
            bias_norms = tf.reduce_sum(tf.square(self._bias_grads), 1)
            norms += _unscaled(bias_norms, self._bias_scale)
        return norms

    def weighted_sums(self, factors: tf.Tensor) -> dict[int, tf.Tensor]:
        """sum_n factors[n] gradient_n, by index of the weight.

        Args:
          factors: float64, [batch], such that factors[n] gradient_n is of
            moderate size; where one is zero the example counts for nothing.
        """
        tap = self._tap
        num_inputs, num_outputs = _matrix_shape(tap)
        kernel_factors = tf.cast(factors * self._scale, tf.float32)
        if self._kernel_grads is not None:
            kernel = tf.matmul(
                kernel_factors[None, :],
                tf.reshape(self._kernel_grads, [-1, num_inputs * num_outputs]),
            )
        else:
            a = tf.reshape(self._a, [-1, num_inputs])
            d = self._d * kernel_factors[:, None, None]
            d = tf.reshape(d, [-1, num_outputs])
            kernel = tf.matmul(a, d, transpose_a=True)
        sums = {tap.kernel: tf.reshape(kernel, tap.kernel_shape)}
        if tap.bias is not None:
            bias_factors = tf.cast(factors * self._bias_scale, tf.float32)
            bias = tf.matmul(bias_factors[None, :], self._bias_grads)
            sums[tap.bias] = tf.reshape(bias, [num_outputs])
        return sums


def clipped_sums(
    layers: Sequence[LayerGradients], clip_norm: float, is_real: tf.Tensor
) -> dict[int, tf.Tensor]:
    """sum_n is_real[n] g_n min(1, clip_norm / ||g_n||), by index of the weight.

    Adding or removing one example, whatever its numbers are, moves the sum by
    `clip_norm` at most, up to the rounding of float32 sums.

    Args:
      layers: Of all layers; g_n is example n's gradient of all weights, and
        zero where it is not finite.
      clip_norm: > 0.
      is_real: float32, [batch], of zeros and ones.
    """
    norms = tf.sqrt(tf.add_n([layer.squared_norms() for layer in layers]))
    is_counted = tf.cast(is_real, tf.bool)
    for layer in layers:
        is_counted &= layer.is_finite
    # In this form also right where the norm is zero.
    factors = clip_norm / tf.maximum(norms, tf.cast(clip_norm, tf.float64))
    factors = tf.where(is_counted, factors, tf.zeros_like(factors))
    sums = {}
    for layer in layers:
        sums.update(layer.weighted_sums(factors))
    return sums


def is_direct(tap: Tap) -> bool:
    """Whether a layer's own gradients take less memory than its ghost norm."""
    positions = math.prod(tap.output_shape[1:-1])
    return 2 * positions**2 > math.prod(tap.kernel_shape) and positions > 1


def layer_gradients(
    taps: Sequence[Tap],
    forward: Callable,
    losses: Callable[[tf.Tensor], tf.Tensor],
    weights: Sequence[tf.Tensor],
    images: tf.Tensor,
    seed: tf.Tensor,
) -> tuple[list[LayerGradients], tf.Tensor]:
    """Forward and backward pass for all per-example gradients.

    Args:
      taps, forward: From `SeededFunctionalModel.tapped`.
      losses: Logits [batch, classes] -> loss of each example, [batch].
      weights: The model's trainable ones.
      images: float32, [batch, height, width, channels].
      seed: See `SeededFunctionalModel.forward`.

    Returns:
      (gradients, layer by layer; logits).
    """
    batch = tf.shape(images)[:1]
    probes = [
        tf.zeros(tf.concat([batch, tap.output_shape[1:]], 0)) for tap in taps
    ]
    for probe, tap in zip(probes, taps, strict=True):
        probe.set_shape(tap.output_shape)
    with tf.GradientTape() as tape:
        tape.watch(probes)
        logits, inputs = forward(weights, images, seed, probes)
        # Examples do not meet in a forward pass, so the gradient of the sum
        # with respect to an example's output is that of its own loss.
        total = tf.reduce_sum(losses(logits))
    output_grads = tape.gradient(total, probes)
    return [
        LayerGradients(*parts)
        for parts in zip(taps, inputs, output_grads, strict=True)
    ], logits


def _is_finite(x: tf.Tensor) -> tf.Tensor:
    """Whether all numbers of an example are: [batch, ...] -> [batch]."""
    axes = list(range(1, x.shape.rank))
    return tf.reduce_all(tf.math.is_finite(x), axes)


def _scaled(x: tf.Tensor, is_finite: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Each example divided by its largest entry, and those: float64, [batch].

    Zeros where `is_finite` is not. (Threads of TensorFlow take denormal numbers
    for zero, hence `divide_no_nan`.)
    """
    axes = list(range(1, x.shape.rank))
    is_finite = tf.reshape(is_finite, [-1, *[1] * len(axes)])
    x = tf.where(is_finite, x, tf.zeros_like(x))
    largest = tf.reduce_max(tf.abs(x), axes, keepdims=True)
    scale = tf.cast(tf.reshape(largest, [-1]), tf.float64)
    return tf.math.divide_no_nan(x, largest), scale


def _unscaled(squared_norms: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Squared norms of scaled gradients, [batch], to those of the gradients."""
    squared_norms = tf.maximum(squared_norms, _LEAST_NORM**2)
    return tf.cast(squared_norms, tf.float64) * tf.square(scale)


def _matrix_shape(tap: Tap) -> tuple[int, int]:
    """(k, c): the kernel as a matrix from what a position sees to outputs."""
    return math.prod(tap.kernel_shape[:-1]), tap.kernel_shape[-1]


def _patches(tap: Tap, images: tf.Tensor) -> tf.Tensor:
    """[batch, height, width, k], k in the order of the kernel."""
    num_inputs, _ = _matrix_shape(tap)
    if tap.kernel_shape[2] < _FEW_CHANNELS:
        identity = tf.eye(num_inputs)
        return tf.nn.conv2d(
            images,
            tf.reshape(identity, [*tap.kernel_shape[:3], num_inputs]),
            tap.strides,
            tap.padding,
            dilations=tap.dilation,
        )
    return tf.image.extract_patches(
        images,
        [1, *tap.kernel_shape[:2], 1],
        [1, *tap.strides, 1],
        [1, *tap.dilation, 1],
        tap.padding,
    )
