"""Clients that do not count in a round."""

from typing import Any

import tensorflow as tf
import tensorflow_federated as tff


def without_excluded(value: Any, weight: Any) -> tuple[Any, Any]:
    """Marks them at the clients: (updates, weights).

    A client counts whose weight is positive and finite, and whose update is
    finite. All others get weight zero, and zeros for what is not finite, as the
    client work gives them to whoever could not train
    (`algorithms.local_training`); here for what came in between, as an
    attacker's NaN.

    Args:
      value: Updates at the clients.
      weight: float32 at the clients.
    """
    value_type = value.type_signature.member
    weight_type = weight.type_signature.member

    @tff.tensorflow.computation(value_type, weight_type)
    def mark(update, weight):
        is_finite = tf.constant(True)
        for leaf in tf.nest.flatten(update):
            is_finite &= tf.reduce_all(tf.math.is_finite(leaf))
        counts = is_finite & tf.math.is_finite(weight) & (weight > 0)
        kept = tf.nest.map_structure(
            lambda leaf: tf.where(is_finite, leaf, tf.zeros_like(leaf)), update
        )
        return kept, tf.where(counts, weight, tf.zeros_like(weight))

    marked = tff.federated_map(mark, (value, weight))
    return marked[0], marked[1]
