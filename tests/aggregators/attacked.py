"""Rules on arrays, and cohorts of which some clients may send anything."""

import numpy as np
import tensorflow as tf
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from tff_cnn.aggregators.cohort import Cohort
from tff_cnn.aggregators.collected import CollectedFactory

# The largest that an attacker sends here; its square is no float32.
HUGE = 1e25


def cohort_of(*leaves, weights=None, counts=None) -> Cohort:
    """Of arrays, [clients, ...]."""
    size = len(leaves[0])
    ones = np.ones(size, np.float32)
    return Cohort(
        [tf.constant(leaf, tf.float32) for leaf in leaves],
        tf.constant(ones if weights is None else weights, tf.float32),
        tf.constant(ones > 0 if counts is None else counts),
    )


def aggregate(rule: CollectedFactory, updates, weights=None) -> np.ndarray:
    """What a rule makes of updates, [n, d]: float32, [d]."""
    (found,) = rule.reduce(cohort_of(updates, weights=weights))
    return found.numpy()


def seeded(n: int, d: int = 4, seed: int = 0) -> np.ndarray:
    """Random updates: float64, [n, d], of numbers that float32 has."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(np.float32).astype(np.float64)


def _numbers(largest: float):
    # TensorFlow takes numbers below 1.2e-38 in size for zeros: none so small.
    found = strategies.floats(-largest, largest, width=32)
    return found.map(lambda x: x if abs(x) > 1e-30 else 0.0)


@strategies.composite
def cohorts(draw, most_attackers, largest_n: int = 11, d: int = 3):
    """(honest updates, those of attackers), float64, [., d].

    Args:
      draw: Of hypothesis.
      most_attackers: n -> how many of them at most; all these are there.
      largest_n: Of all together.
      d: Coordinates.
    """
    n = draw(strategies.integers(1, largest_n))
    attackers = most_attackers(n)
    honest = draw(
        arrays.arrays(np.float64, (n - attackers, d), elements=_numbers(10.0))
    )
    # Whatever single ones are drawn, one value of all in most examples.
    huge = np.float32(HUGE).astype(float)
    one = strategies.one_of(
        _numbers(10.0), _numbers(huge), strategies.sampled_from([huge, -huge])
    )
    bad = draw(
        arrays.arrays(np.float64, (attackers, d), elements=one, fill=one)
    )
    return honest, bad


def mixed(honest, bad, seed: int = 0) -> np.ndarray:
    """Both together, in no order."""
    both = np.concatenate([honest, bad])
    return both[np.random.default_rng(seed).permutation(len(both))]
