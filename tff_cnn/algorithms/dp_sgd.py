"""Example-level DP-SGD as the gradients of local training.

Abadi et al. 2016, "Deep Learning with Differential Privacy", Algorithm 1. In
each local step, with the lot L_t of examples drawn by Poisson sampling
(`Batching.poisson` in `data.preprocessing`):

    1. g_t(x) = gradient of the loss of example x          (ghost_norms)
    2. g_t(x) = g_t(x) min(1, C / ||g_t(x)||)              (`_factors`)
    3. g_t = (sum over L_t g_t(x) + N(0, z^2 C^2 I)) / L   (`_noised_mean`)
    4. w_{t+1} = client_optimizer(w_t, g_t)                (local_training)

    symbol  name
    L       expected_lot: public, whatever was drawn; dividing by the drawn
            number would release it
    C       clip_norm
    z       noise_multiplier

A step whose lot is empty is taken all the same: its noise is released.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tff_cnn.algorithms import ghost_norms
from tff_cnn.algorithms.local_training import GradientFunction
from tff_cnn.models.functional import SeededFunctionalModel
from tff_cnn.privacy.local import ExampleDpSgd

# Added to the index of a variable for the seed of its noise, so that no
# dropout layer, which are numbered too, shares it.
_NOISE = 1 << 20


def build_gradients(
    model: SeededFunctionalModel, mechanism: ExampleDpSgd
) -> GradientFunction:
    """The noised mean gradient of a lot: steps 1 to 3.

    Raises:
      UsageError: A layer of the model is not covered, by name.
    """
    clipped_sum = build_clipped_sum(model, mechanism.clip_norm)

    def gradients(weights, images, labels, is_real, seed):
        sums, logits = clipped_sum(weights, images, labels, is_real, seed)
        loss = model.loss(output=logits, label=labels, sample_weight=is_real)
        return _noised_mean(sums, mechanism, seed), loss, logits

    return gradients


def build_clipped_sum(
    model: SeededFunctionalModel, clip_norm: float
) -> Callable[..., tuple]:
    """A lot's sum of clipped gradients: steps 1 and 2.

    Args:
      model: What is trained.
      clip_norm: > 0.

    Returns:
      A function of the arguments of a `GradientFunction` to (sums, logits).

    Raises:
      UsageError: A layer of the model is not covered, by name.
    """
    taps, forward = model.tapped()

    def clipped_sum(weights, images, labels, is_real, seed):
        # Lots vary, and padding comes last: it is cut off, but for one row,
        # because not all operations take a batch of none.
        width = tf.size(labels)
        drawn = tf.maximum(tf.math.count_nonzero(is_real, dtype=tf.int32), 1)
        layers, logits = ghost_norms.layer_gradients(
            taps,
            forward,
            lambda logits: model.example_losses(logits, labels[:drawn]),
            weights,
            images[:drawn],
            seed,
        )
        norms = tf.sqrt(tf.add_n([x.squared_norms() for x in layers]))
        factors = _factors(norms, clip_norm) * is_real[:drawn]
        sums = {}
        for layer in layers:
            sums.update(layer.weighted_sums(factors))
        logits = tf.pad(logits, [[0, width - drawn], [0, 0]])
        return [sums[index] for index in range(len(weights))], logits

    return clipped_sum


def _factors(norms: tf.Tensor, clip_norm: float) -> tf.Tensor:
    """min(1, C / norm), [batch]; 1 where the norm is zero."""
    return clip_norm / tf.maximum(norms, clip_norm)


def _noised_mean(
    sums: Sequence[tf.Tensor], mechanism: ExampleDpSgd, seed: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    def noised(index, total):
        noise = tf.random.stateless_normal(
            total.shape,
            tf.random.experimental.stateless_fold_in(seed, _NOISE + index),
            stddev=mechanism.noise_multiplier * mechanism.clip_norm,
        )
        return (total + noise) / mechanism.expected_lot

    return tuple(noised(*pair) for pair in enumerate(sums))
