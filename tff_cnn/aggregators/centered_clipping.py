"""Centered clipping: clients move the last aggregate, each a bounded way.

Karimireddy, He & Jaggi 2021, "Learning from History for Byzantine Robust
Optimization", Algorithm 2 (Centered Clipping). With n clients' x_i,

    0. v = the aggregate of the round before; zero at first
    1. L times: v = v + (1 / n) sum_i (x_i - v) min(1, tau / ||x_i - v||)
    2. the aggregate is v

    symbol  name
    x_i     an update, w - w_k
    v       state of the aggregation, so that a resumed run goes on from it
    tau     clip_radius
    L       clip_steps

The paper's clients send momentum, x_i = m_i = (1 - beta) g_i + beta m_i, which
they keep from round to round (its Algorithm 1), and its guarantee over many
rounds is for that. Here they send what the algorithm has them send, as under
any other aggregation: step 1 and its bound hold, that theorem does not.

Each client counts the same. In a round in which nobody counts the aggregate is
zero, and v stays.

Breakdown: none of a single round; b of n clients move the aggregate by
L tau b / n at most, of the way that it would have gone with their updates at v.

Cost for n clients of d coordinates: time L n d, as of L means; memory d, as
nothing is collected, for L = 1, and n d beyond it; bytes as of the mean.
"""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators import clipping
from tff_cnn.aggregators.excluded import without_excluded


class CenteredClippingFactory(tff.aggregators.WeightedAggregationFactory):
    """Its state is v."""

    def __init__(self, clip_radius: float, clip_steps: int):
        """Args:
        clip_radius: tau, > 0.
        clip_steps: L, >= 1.
        """
        self._radius = clip_radius
        self._steps = clip_steps

    def create(self, value_type, weight_type):
        specs = tff.types.type_to_tf_tensor_specs(value_type)
        mean = tff.aggregators.MeanFactory(no_nan_division=True).create(
            value_type, weight_type
        )

        @tff.tensorflow.computation
        def zero():
            return tf.nest.map_structure(
                lambda spec: tf.zeros(spec.shape, spec.dtype), specs
            )

        @tff.tensorflow.computation(value_type, value_type)
        def way(update, centre):
            return _way(update, centre, self._radius)

        @tff.tensorflow.computation(value_type, value_type)
        def moved(centre, way):
            return tf.nest.map_structure(tf.add, centre, way)

        @tff.tensorflow.computation(weight_type)
        def alike(weight):
            return tf.cast(weight > 0, weight.dtype)

        @tff.tensorflow.computation(value_type, np.float32)
        def if_any(found, num_clients):
            return tf.nest.map_structure(
                lambda leaf: tf.where(
                    num_clients > 0, leaf, tf.zeros_like(leaf)
                ),
                found,
            )

        @tff.federated_computation
        def initialize():
            return tff.federated_eval(zero, tff.SERVER)

        @tff.federated_computation(
            initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
            tff.FederatedType(weight_type, tff.CLIENTS),
        )
        def next_fn(state, value, weight):
            value, weight = without_excluded(value, weight)
            weight = tff.federated_map(alike, weight)
            centre = state  # 0.
            for _ in range(self._steps):  # 1.
                ways = tff.federated_map(
                    way, (value, tff.federated_broadcast(centre))
                )
                step = mean.next(mean.initialize(), ways, weight)
                centre = tff.federated_map(moved, (centre, step.result))
            result = tff.federated_map(  # 2.
                if_any, (centre, tff.federated_sum(weight))
            )
            nothing = tff.federated_value((), tff.SERVER)
            return tff.templates.MeasuredProcessOutput(centre, result, nothing)

        return tff.templates.AggregationProcess(initialize, next_fn)


def _way(update: Any, centre: Any, radius: float) -> Any:
    """(x_i - v) min(1, tau / ||x_i - v||), like an update."""
    wide = tf.nest.map_structure(
        # In float32 the difference of two finite numbers can be infinite.
        lambda x, v: tf.cast(x, tf.float64) - tf.cast(v, tf.float64),
        update,
        centre,
    )
    clipped, _ = clipping.clip(wide, radius)
    return tf.nest.map_structure(
        lambda leaf, x: tf.cast(leaf, x.dtype), clipped, update
    )
