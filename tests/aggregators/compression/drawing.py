"""Vectors for property tests, and codecs as functions of them."""

import numpy as np
import tensorflow as tf
from hypothesis import settings
from hypothesis import strategies as st

from tff_cnn.aggregators.codecs import Codecs, Seeds

# TensorFlow's first call of an operation takes longer than others.
unhurried = settings(deadline=None, max_examples=40)

# Of any spread: equal, normal, or a few that are large.
vectors = st.builds(
    lambda seed, size, power: (
        np.sign(x := np.random.default_rng(seed).standard_normal(size))
        * np.abs(x) ** power
    ).astype(np.float32),
    st.integers(0, 2**32),
    st.integers(1, 200),
    st.sampled_from([0.0, 1.0, 6.0]),
)


def seeds(number: int = 0) -> Seeds:
    """Of another round and client for each number."""
    return Seeds(
        tf.constant([number, 0], tf.int64), tf.constant([5, number], tf.int64)
    )


def decoded(vector, *parts, number: int = 0) -> np.ndarray:
    """What the server has of an update that is one tensor."""
    (found,), _ = Codecs(parts).transmitted(
        [tf.constant(vector)], seeds(number)
    )
    return found.numpy()


def num_bytes(vector, *parts) -> int:
    """That it takes."""
    _, size = Codecs(parts).transmitted([tf.constant(vector)], seeds())
    return int(size)


def many(vector, *parts, count: int) -> np.ndarray:
    """`decoded` for so many seeds: [count, size]."""

    @tf.function
    def all_of(numbers):
        def one(number):
            own = tf.stack([tf.constant(5, tf.int64), number])
            shared = tf.stack([number, tf.constant(0, tf.int64)])
            (found,), _ = Codecs(parts).transmitted(
                [tf.constant(vector)], Seeds(shared, own)
            )
            return found

        return tf.map_fn(one, numbers, fn_output_signature=tf.float32)

    return all_of(tf.range(count, dtype=tf.int64)).numpy()


def relative_error(found, vector) -> float:
    """Squared, over the squared norm."""
    found, vector = np.float64(found), np.float64(vector)
    return np.square(found - vector).sum() / np.square(vector).sum()
