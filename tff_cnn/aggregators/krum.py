"""Krum, Multi-Krum and Bulyan: rules on the distances between updates.

Blanchard, El Mhamdi, Guerraoui & Stainer 2017, "Machine Learning with
Adversaries: Byzantine Tolerant Gradient Descent". Of n updates, f of which may
be anything,

    1. s(i) = sum over the n - f - 2 nearest j of ||V_i - V_j||^2
    2. Krum: V_i of the least s(i)
       Multi-Krum: the mean of the m updates of the least s(i)

El Mhamdi, Guerraoui & Rouault 2018, "The Hidden Vulnerability of Distributed
Learning in Byzantium" (Bulyan over Krum):

    3. theta = n - 2 f times: Krum on the updates that are left, of which the
       one that it chooses is taken away
    4. in each coordinate the mean of those beta = theta - 2 f of the theta
       that were taken which are closest to their median

    symbol  name
    n       num_clients of those that count
    f       assumed_attackers
    m       krum_selected; by default n - f
    s(i)    scores

The papers need n >= 2 f + 3, and Bulyan n >= 4 f + 3. Without a number f is the
largest that a round's n allows, or 0. With one, a run whose cohorts are smaller
is refused (`robust_entries`), and a round that has fewer clients left makes no
update: its aggregate is zero, for which of so few to believe cannot be told.
Nearest are at least one in 1., where there is another; of equal scores the
first client's counts.

Breakdown: with f others, D the largest distance between two of the honest, each
update that Krum or Multi-Krum (m <= n - f) takes is within sqrt(n - f - 2) D of
an honest one. Bulyan's coordinates are no further outside of the range of the
honest than that range is wide.

Cost for n clients of d coordinates: time n^2 d for the distances, once through
all updates, then n d, once more (Bulyan: n log n d, and theta n^2 for step 3);
memory n d at the server, in a file beyond 2 GiB, and n^2; bytes as of the mean.
Distances are computed in float64 from products, to 1e-8 of the updates' norms.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tff_cnn.aggregators.cohort import Cohort
from tff_cnn.aggregators.collected import CollectedFactory
from tff_cnn.aggregators.coordinatewise import ascending, median_of

# (cohort, f) -> an update.
_Rule = Callable[[Cohort, tf.Tensor], list[tf.Tensor]]


def build_krum(assumed_attackers: int | None) -> CollectedFactory:
    """Builds Krum.

    Args:
      assumed_attackers: f, >= 0, or None.
    """
    return _with_condition(_krum, assumed_attackers, 2)


def build_multi_krum(
    assumed_attackers: int | None, krum_selected: int | None
) -> CollectedFactory:
    """Builds Multi-Krum.

    Args:
      assumed_attackers: f, >= 0, or None.
      krum_selected: m, >= 1, or None; all where there are fewer.
    """

    def rule(cohort, attackers):
        return _multi_krum(cohort, attackers, krum_selected)

    return _with_condition(rule, assumed_attackers, 2)


def build_bulyan(assumed_attackers: int | None) -> CollectedFactory:
    """Builds Bulyan.

    Args:
      assumed_attackers: f, >= 0, or None.
    """
    return _with_condition(_bulyan, assumed_attackers, 4)


def _with_condition(
    rule: _Rule, assumed_attackers: int | None, factor: int
) -> CollectedFactory:
    """A rule on n >= factor * f + 3 updates."""

    def reduce(cohort):
        most = (cohort.num_clients - 3) // factor
        if assumed_attackers is None:
            return rule(cohort, tf.maximum(most, 0))
        attackers = tf.constant(assumed_attackers)
        # One alone is itself for f = 0, as of every rule.
        is_met = tf.maximum(most, 0) >= attackers
        return [
            tf.where(is_met, leaf, tf.zeros_like(leaf))
            # Of fewer it is computed as well, and not used.
            for leaf in rule(cohort, tf.where(is_met, attackers, 0))
        ]

    return CollectedFactory(reduce)


def _krum(cohort: Cohort, attackers: tf.Tensor) -> list[tf.Tensor]:
    best = tf.argmin(_scores(cohort, attackers))  # 2.
    return cohort.coordinatewise(lambda block: tf.gather(block, best))


def _multi_krum(
    cohort: Cohort, attackers: tf.Tensor, selected: int | None
) -> list[tf.Tensor]:
    num_clients = cohort.num_clients
    size = num_clients - attackers
    if selected is not None:
        size = tf.minimum(selected, num_clients)
    best = tf.math.top_k(-_scores(cohort, attackers), size).indices

    def mean(block):  # 2.
        chosen = tf.gather(block, best)
        return tf.reduce_mean(tf.cast(chosen, tf.float64), 0)

    return cohort.coordinatewise(mean)


def _bulyan(cohort: Cohort, attackers: tf.Tensor) -> list[tf.Tensor]:
    theta = cohort.num_clients - 2 * attackers
    is_taken = _taken_one_by_one(squared_distances(cohort), attackers, theta)

    def closest(block):  # 4.
        values = ascending(tf.boolean_mask(block, is_taken))
        values = tf.cast(values, tf.float64)
        far = tf.abs(values - median_of(values)[:, tf.newaxis])
        nearest = tf.math.top_k(-far, theta - 2 * attackers).indices
        return tf.reduce_mean(tf.gather(values, nearest, batch_dims=1), 1)

    return cohort.coordinatewise(closest)


def squared_distances(cohort: Cohort) -> tf.Tensor:
    """Between all updates: float64, [n, n], symmetric; infinite to itself."""

    def products(block):
        values = tf.cast(block, tf.float64)
        return tf.matmul(values, values, transpose_b=True)

    size = cohort.num_clients
    gram = cohort.total(products, tf.zeros([size, size], tf.float64))
    squares = tf.linalg.diag_part(gram)
    found = squares[:, tf.newaxis] + squares - gram - tf.transpose(gram)
    return tf.linalg.set_diag(
        tf.maximum(found, 0), tf.fill([size], tf.constant(np.inf, tf.float64))
    )


def _num_nearest(num_clients: tf.Tensor, attackers: tf.Tensor) -> tf.Tensor:
    return tf.maximum(num_clients - attackers - 2, 1)


def _scores(cohort: Cohort, attackers: tf.Tensor) -> tf.Tensor:
    """s(i), float64, [n]."""
    size = _num_nearest(cohort.num_clients, attackers)
    nearest = -tf.math.top_k(-squared_distances(cohort), size).values
    return tf.reduce_sum(nearest, 1)  # 1.


def _taken_one_by_one(
    distances: tf.Tensor, attackers: tf.Tensor, count: tf.Tensor
) -> tf.Tensor:
    """Step 3: which updates are taken, bool, [n]."""
    num_clients = tf.shape(distances)[0]
    # Sorted once; each round skips those that were taken. Last is itself.
    order = tf.argsort(distances)[:, :-1]
    nearest = tf.sort(distances)[:, :-1]

    def take(number, is_left):
        size = _num_nearest(num_clients - number, attackers)
        others = tf.gather(is_left, order)
        rank = tf.cumsum(tf.cast(others, tf.int32), 1)
        scores = tf.reduce_sum(tf.where(others & (rank <= size), nearest, 0), 1)
        best = tf.argmin(
            tf.where(is_left, scores, np.inf), output_type=tf.int32
        )
        return number + 1, is_left & tf.not_equal(tf.range(num_clients), best)

    _, is_left = tf.while_loop(
        lambda number, _: number < count,
        take,
        (tf.constant(0), tf.fill([num_clients], True)),
    )
    return ~is_left
