"""Attacks on updates outside of any process: what a round's clients send."""

import numpy as np
import tensorflow as tf

from tff_cnn.core.update_attacks import Attacker, Known

SEED = np.array([3, 5], np.int64)


def sent(attack, honest, attackers, seed=SEED, round_num=1, weights=None):
    """What the first attacker sends, a structure like its update.

    Args:
      attack: An `UpdateAttack`.
      honest: Updates, structures of arrays.
      attackers: The same; there is one at least.
      seed: Of the attacker.
      round_num: From 1.
      weights: Of all clients, attackers last; None are ones.
    """
    every = [_tensors(update) for update in [*honest, *attackers]]
    weights = np.ones(len(every)) if weights is None else np.array(weights)
    num_honest = len(honest)
    seen = every[:num_honest] if attack.sees_honest else every[num_honest:]
    observed = [attack.observed(update) for update in seen]
    total = tf.nest.map_structure(
        tf.zeros_like, attack.observed(every[num_honest])
    )
    for one in observed:
        total = tf.nest.map_structure(tf.add, total, one)
    known = Known(
        total,
        tf.constant(float(len(seen))),
        tf.constant(float(len(every))),
        tf.constant(float(len(attackers))),
        tf.constant(weights[num_honest:].sum() / weights.sum(), tf.float32),
    )
    attacker = Attacker(
        tf.constant(1.0), tf.constant(seed), tf.constant(float(round_num))
    )
    found = attack.sent(every[num_honest], known, attacker)
    tf.nest.assert_same_structure(found, every[num_honest])
    return tf.nest.map_structure(np.asarray, found)


def updates(count, seed=0, scale=1.0):
    """Random updates of two variables each."""
    rng = np.random.default_rng(seed)
    return [
        (
            scale * rng.normal(size=(2, 3)).astype(np.float32),
            scale * rng.normal(size=3).astype(np.float32),
        )
        for _ in range(count)
    ]


def flat(update):
    """All numbers of an update, or of each of several: float64."""
    if isinstance(update, list):
        return np.array([flat(one) for one in update])
    return np.concatenate([np.ravel(x) for x in update]).astype(np.float64)


def _tensors(update):
    return tf.nest.map_structure(tf.constant, update)
