"""Noise as a function of a secret seed and of where it is added.

A noise seed is a pair of int64, so 128 bits. The noise of step t (a round) on
leaf i is drawn from the seed plus (t, i), each component modulo 2^64: distinct
(t, i) have distinct seeds, and what is computed again from the same state and
seed is the same to the bit. Two seeds must be drawn independently: seeds that
differ by (1, 0) have the same noise one step apart.

TensorFlow's stateless generator, Philox 4x32-10, maps all 128 bits one to one
to its key and the upper half of its counter, so streams of distinct seeds never
overlap. (`tf.random.experimental.stateless_fold_in` would keep at most 64 of
them.) Philox passes statistical tests and no attack on it is known, but it was
not made for cryptography.
"""

from typing import Any

import numpy as np
import tensorflow as tf

NoiseSeed = tuple[int, int] | np.ndarray


def check_seed(seed: NoiseSeed | None) -> np.ndarray:
    """The seed as an array: int64, shape [2].

    Raises:
      ValueError: It is something else.
    """
    array = np.asarray(seed)
    if array.dtype != np.int64 or array.shape != (2,):
        # Nothing of the value is shown: it may be a secret.
        raise ValueError(
            "a noise seed must be two int64, not "
            f"{type(seed).__name__} of {array.dtype}, shape {array.shape}."
        )
    return array


def stream(seed: NoiseSeed | tf.Tensor, step: Any, index: int) -> tf.Tensor:
    """The seed of a step and a leaf; int64, shape [2]."""
    return seed + tf.stack([tf.cast(step, tf.int64), tf.cast(index, tf.int64)])


def normal(
    specs: Any,
    stddev: Any,
    seed: NoiseSeed | tf.Tensor,
    step: Any,
    first_index: int = 0,
) -> Any:
    """Independent N(0, stddev^2), float32.

    Args:
      specs: Structure of tensors or `tf.TensorSpec`s of known shape.
      stddev: Number or scalar tensor, >= 0.
      seed: See `check_seed`.
      step: Integer scalar.
      first_index: Of the first leaf; the others count up from it.
    """
    leaves = [
        stddev
        * tf.random.stateless_normal(spec.shape, stream(seed, step, index))
        for index, spec in enumerate(tf.nest.flatten(specs), first_index)
    ]
    return tf.nest.pack_sequence_as(specs, leaves)


def client_seed(seed: NoiseSeed) -> tf.Tensor:
    """A seed that differs from call to call; int64, shape [2].

    What a client computes does not know which client it is. So the difference
    comes from TensorFlow's unseeded generator, which every call moves on, and
    the secrecy from `seed`: that generator is started with 32 bits of the
    operating system, and all its streams could be tried out.
    """
    own = tf.random.uniform([2], tf.int64.min, tf.int64.max, dtype=tf.int64)
    return seed + own
