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
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from tff_cnn.models.taps import Tap

# TensorFlow extracts patches number by number where there are few channels;
# on a CPU a convolution with an identity is then five times as fast.
_FEW_CHANNELS = 4


class LayerGradients:
    """The gradients of one layer's kernel and bias, example by example."""

    def __init__(self, tap: Tap, inputs: tf.Tensor, output_grads: tf.Tensor):
        """Args:
        tap: The layer.
        inputs: What it saw, [batch, ...].
        output_grads: Gradient of each example's loss with respect to the
          layer's output before the activation, [batch, ..., c].
        """
        self._tap = tap
        num_inputs, num_outputs = _matrix_shape(tap)
        if tap.is_convolution:
            inputs = _patches(tap, inputs)
        positions = math.prod(tap.output_shape[1:-1])
        self._a = tf.reshape(inputs, [-1, positions, num_inputs])
        self._d = tf.reshape(output_grads, [-1, positions, num_outputs])
        self._kernel_grads = None
        if is_direct(tap):
            self._kernel_grads = tf.matmul(self._a, self._d, transpose_a=True)

    def squared_norms(self) -> tf.Tensor:
        """Of each example's gradient of kernel and bias together, [batch]."""
        if self._kernel_grads is not None:
            norms = tf.reduce_sum(tf.square(self._kernel_grads), [1, 2])
        elif self._a.shape[1] == 1:
            norms = tf.reduce_sum(tf.square(self._a), [1, 2]) * tf.reduce_sum(
                tf.square(self._d), [1, 2]
            )
        else:
            gram_a = tf.matmul(self._a, self._a, transpose_b=True)
            gram_d = tf.matmul(self._d, self._d, transpose_b=True)
            # Rounding may take a sum of products of both signs below zero.
            norms = tf.maximum(tf.reduce_sum(gram_a * gram_d, [1, 2]), 0.0)
        if self._tap.bias is not None:
            bias_grads = tf.reduce_sum(self._d, 1)
            norms += tf.reduce_sum(tf.square(bias_grads), 1)
        return norms

    def weighted_sums(self, factors: tf.Tensor) -> dict[int, tf.Tensor]:
        """sum_n factors[n] gradient_n, by index of the weight.

        Args:
          factors: [batch]; where one is zero the example counts for nothing.
        """
        tap = self._tap
        num_inputs, num_outputs = _matrix_shape(tap)
        d = tf.reshape(self._d * factors[:, None, None], [-1, num_outputs])
        if self._kernel_grads is not None:
            kernel = tf.matmul(
                factors[None, :],
                tf.reshape(self._kernel_grads, [-1, num_inputs * num_outputs]),
            )
        else:
            a = tf.reshape(self._a, [-1, num_inputs])
            kernel = tf.matmul(a, d, transpose_a=True)
        sums = {tap.kernel: tf.reshape(kernel, tap.kernel_shape)}
        if tap.bias is not None:
            sums[tap.bias] = tf.reduce_sum(d, 0)
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
