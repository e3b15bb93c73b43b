"""Bounding what one client adds, whatever it sends.

Every mechanism clips here. `tf.clip_by_global_norm` answers NaN where the
squared norm overflows, from entries of 2e19 on, and so does a sum with that
client in it, which tells everybody that it took part.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff


def l2_norm(leaves: list[tf.Tensor]) -> tf.Tensor:
    """L2 norm of all leaves together: float64, [].

    In float64 no square of a float32 overflows or vanishes, and a million of
    them add up to 1e-12; float32 has no room for either. NaN or infinite if
    and only if an entry is.
    """
    squares = [tf.square(tf.cast(leaf, tf.float64)) for leaf in leaves]
    return tf.sqrt(tf.add_n([tf.reduce_sum(square) for square in squares]))


def l1_norm(leaves: list[tf.Tensor]) -> tf.Tensor:
    """Sum of the absolute values of all leaves: float64, []."""
    absolutes = [tf.abs(tf.cast(leaf, tf.float64)) for leaf in leaves]
    return tf.add_n([tf.reduce_sum(absolute) for absolute in absolutes])


def clip(
    record: Any,
    bound: Any,
    norm_of: Callable[[list[tf.Tensor]], tf.Tensor] = l2_norm,
) -> tuple[Any, tf.Tensor]:
    """Scales a record down to `bound`, if it is longer.

    A record with an entry that is NaN or infinite becomes zeros, as a client
    that has nothing to say: what direction it had is lost.

    Args:
      record: Structure of float tensors.
      bound: Number or scalar tensor, >= 0 and finite.
      norm_of: Leaves -> norm, float64.

    Returns:
      (record of norm `bound` at most, up to 2e-7 of it for the rounding of its
      entries; norm before, float32, infinite where it is no number).
    """
    leaves = tf.nest.flatten(record)
    norm, bound = norm_of(leaves), tf.cast(bound, tf.float64)
    norm = tf.where(tf.math.is_finite(norm), norm, np.inf)
    # Exactly 1 for short records and 0 for those that are not finite.
    factor = tf.math.divide_no_nan(bound, tf.maximum(norm, bound))
    clipped = [
        tf.cast(
            # 0 where the factor is, whatever is multiplied.
            tf.math.multiply_no_nan(tf.cast(leaf, tf.float64), factor),
            leaf.dtype,
        )
        for leaf in leaves
    ]
    return tf.nest.pack_sequence_as(record, clipped), tf.cast(norm, tf.float32)


class ClippingFactory(tff.aggregators.UnweightedAggregationFactory):
    """Clips updates to a fixed norm before another aggregation."""

    def __init__(
        self,
        bound: float,
        inner: tff.aggregators.UnweightedAggregationFactory,
    ):
        """Args:
        bound: L2 norm of an update as a whole.
        inner: Aggregates what is clipped; its state is the state.
        """
        self._bound = bound
        self._inner = inner

    def create(self, value_type):
        process = self._inner.create(value_type)

        @tff.tensorflow.computation(value_type)
        def clip_update(update):
            return clip(update, self._bound)[0]

        @tff.federated_computation(
            process.initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
        )
        def next_fn(state, value):
            return process.next(state, tff.federated_map(clip_update, value))

        return tff.templates.AggregationProcess(process.initialize, next_fn)
