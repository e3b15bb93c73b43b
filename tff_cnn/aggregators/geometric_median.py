"""The geometric median, by the smoothed Weiszfeld algorithm.

Pillutla, Kakade & Harchaoui 2022, "Robust Aggregation for Federated Learning"
(RFA), Algorithm 2. The median is the v that minimizes the weighted sum of
distances, g(v) = sum_k alpha_k ||v - w_k||. From v^(0) on, R times:

    1. beta_k = alpha_k / max(nu, ||v - w_k||)
    2. v = sum_k beta_k w_k / sum_k beta_k

    symbol   name
    alpha_k  weights of clients, by which this rule goes as the mean does
    nu       weiszfeld_smoothing, in the unit of a norm
    R        weiszfeld_steps
    w_k      an update, w - w_k, in the place of the paper's models
    v        mean, by the weights beta_k

The paper leaves v^(0) open; here it is zero, the model that clients were sent.
No step makes the (smoothed) sum of distances larger, so wherever it ends, the
aggregate is as good a centre as no update at all; from the mean instead, one
client at 1e25 would take dozens of steps to be got rid of. R = 1 is the mean of
directions, scaled by the harmonic mean of lengths.

Breakdown: half of the weights. With honest clients H and others B of weights
a(H) > a(B), by that inequality, for any R,

    ||v|| <= (2 sum_{k in H} alpha_k ||w_k|| + nu / 2) / (a(H) - a(B))

where the weights add up to 1, whatever the others send.

Cost for n clients of d coordinates: time (R + 1) n d, as often through all
updates; memory n d at the server, in a file beyond 2 GiB; bytes as of the mean.
The paper's rounds of secure averages, by which no server sees an update, are
not done: one exchange with clients is.
"""

import tensorflow as tf

from tff_cnn.aggregators.cohort import Cohort, weighted_mean
from tff_cnn.aggregators.collected import CollectedFactory


def build_geometric_median(
    weiszfeld_steps: int, weiszfeld_smoothing: float
) -> CollectedFactory:
    """Builds the rule.

    Args:
      weiszfeld_steps: R, >= 1.
      weiszfeld_smoothing: nu, > 0.
    """

    def reduce(cohort):
        weights = _weights(cohort, weiszfeld_steps, weiszfeld_smoothing)
        return weighted_mean(cohort, weights)  # 2., the last

    return CollectedFactory(reduce)


def _weights(cohort: Cohort, steps: int, smoothing: float) -> tf.Tensor:
    """beta_k / sum_k beta_k of the last step: float64, [n]."""
    alpha = tf.cast(cohort.weights, tf.float64)

    def step(number, weights):
        distances = tf.sqrt(_squared_distances(cohort, weights))
        beta = alpha / tf.maximum(distances, smoothing)  # 1.
        return number + 1, beta / tf.reduce_sum(beta)

    _, weights = tf.while_loop(
        lambda number, _: number < steps,
        step,
        (tf.constant(0), tf.zeros_like(alpha)),  # v^(0) = 0
    )
    return weights


def _squared_distances(cohort: Cohort, weights: tf.Tensor) -> tf.Tensor:
    """||w_k - v||^2 for v = sum_k weights_k w_k: float64, [n]."""

    def of(block):
        values = tf.cast(block, tf.float64)
        centre = tf.linalg.matvec(values, weights, transpose_a=True)  # 2.
        return tf.reduce_sum(tf.square(values - centre), 1)

    return cohort.total(of, tf.zeros_like(weights))
