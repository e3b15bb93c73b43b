"""Median and trimmed mean: each coordinate by itself.

Yin, Chen, Ramchandran & Bartlett 2018, "Byzantine-Robust Distributed Learning:
Towards Optimal Statistical Rates", Algorithm 1. The server has g^i of each of m
clients, of which a share alpha may be anything, and computes in coordinate k

    option I    g_k = med{g_k^i : i in [m]}                  (`median`)
    option II   g_k = trmean_beta{g_k^i : i in [m]}, the mean of what is left
                without the largest and the smallest beta m  (`trimmed_mean`)

    symbol  name
    m       num_clients of those that count, n in what follows
    beta    trim_fraction
    g^i     an update, w - w_k, in the place of the paper's gradients

Of an even number of values the median is the mean of the middle two. Of each
side floor(beta n) values are left out, so that one always remains; beta = 0 is
the unweighted mean.

Breakdown: as long as fewer than n / 2 clients are not honest (median), or at
most floor(beta n) (trimmed mean), each coordinate lies between the least and
the greatest that an honest client has.

Cost for n clients of d coordinates: time n d, once through all updates;
memory n d at the server, in a file beyond 2 GiB; bytes as of the mean.
"""

import tensorflow as tf

from tff_cnn.aggregators.cohort import Cohort
from tff_cnn.aggregators.collected import CollectedFactory

# beta n is an integer more often than floats say: 0.29 * 100 < 29.
_ROUNDING = 1e-9


def build_median() -> CollectedFactory:
    """Option I."""
    return CollectedFactory(_median)


def build_trimmed_mean(trim_fraction: float) -> CollectedFactory:
    """Option II.

    Args:
      trim_fraction: beta, in [0, 1/2).
    """
    return CollectedFactory(lambda cohort: _trimmed_mean(cohort, trim_fraction))


def _median(cohort: Cohort) -> list[tf.Tensor]:
    size = cohort.num_clients

    def reduce(block):
        columns = tf.transpose(block)
        # Halved first: the sum of two could be infinite.
        return 0.5 * _smallest(columns, (size - 1) // 2) + 0.5 * _smallest(
            columns, size // 2
        )

    return cohort.coordinatewise(reduce)


def _trimmed_mean(cohort: Cohort, trim_fraction: float) -> list[tf.Tensor]:
    size = cohort.num_clients
    share = trim_fraction * tf.cast(size, tf.float64)
    trimmed = tf.cast(tf.floor(share + _ROUNDING), tf.int32)

    def reduce(block):
        return _mean_within(tf.transpose(block), trimmed, size - 1 - trimmed)

    return cohort.coordinatewise(reduce)


def _smallest(columns: tf.Tensor, rank: tf.Tensor) -> tf.Tensor:
    """Of each row the value of a rank, from 0 on: [rows].

    In a fifth of the time of sorting them all, for 1,000.
    """
    return tf.raw_ops.NthElement(input=columns, n=rank)


def _mean_within(
    columns: tf.Tensor, first: tf.Tensor, last: tf.Tensor
) -> tf.Tensor:
    """Of each row the mean of the values of ranks `first` to `last`: [rows]."""
    low = _smallest(columns, first)[:, tf.newaxis]
    high = _smallest(columns, last)[:, tf.newaxis]

    def count(condition):
        return tf.math.count_nonzero(condition, 1, dtype=tf.int32)

    def times(value, number):
        return tf.cast(value[:, 0], tf.float64) * tf.cast(number, tf.float64)

    is_inside = (low < columns) & (columns < high)
    inside = tf.where(is_inside, columns, 0)
    # Of values equal to a limit, those whose ranks are within.
    num_low = count(columns <= low) - first
    num_high = count(columns < high)
    total = (
        tf.reduce_sum(tf.cast(inside, tf.float64), 1)
        + times(low, num_low)
        + times(high, last + 1 - num_high)
    )
    mean = total / tf.cast(last + 1 - first, tf.float64)
    return tf.where(
        low[:, 0] < high[:, 0], tf.cast(mean, tf.float32), low[:, 0]
    )


def ascending(block: tf.Tensor) -> tf.Tensor:
    """Each coordinate's values from the least to the greatest.

    Args:
      block: [clients, coordinates].

    Returns:
      [coordinates, clients].
    """
    return tf.sort(tf.transpose(block))


def median_of(ascending: tf.Tensor) -> tf.Tensor:
    """The median of each row of sorted values: [rows]."""
    size = tf.shape(ascending)[1]
    # Halved first: the sum of two could be infinite.
    return 0.5 * ascending[:, (size - 1) // 2] + 0.5 * ascending[:, size // 2]
