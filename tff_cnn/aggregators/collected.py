"""Aggregation that looks at single updates: all are stacked, then reduced.

For medians, trimmed means, distances between updates and the like. A round
needs room for the whole cohort's updates at the server: memory, or beyond 2 GiB
a file (`runtime.in_process.rows`).
"""

import collections
from collections.abc import Callable

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators.cohort import Cohort
from tff_cnn.aggregators.excluded import without_excluded

# Updates of n >= 1 clients, in no order that means anything -> the leaves of
# one update, float32.
Reduce = Callable[[Cohort], list[tf.Tensor]]


class CollectedFactory(tff.aggregators.WeightedAggregationFactory):
    """Calls a function once a round, on the updates of clients that count.

    Clients of weight zero are those without examples and those whose update
    was not finite (`excluded`): they are left out. Where no client is left the
    aggregate is zero.

    Attributes:
      reduce: What it calls.
    """

    def __init__(self, reduce: Reduce):
        """Args:
        reduce: A function in TensorFlow; see `Reduce`.
        """
        self.reduce = reduce

    def create(self, value_type, weight_type):
        one = tff.types.type_to_tf_tensor_specs(value_type)
        weight = tff.types.type_to_tf_tensor_specs(weight_type)
        collected = collections.OrderedDict(
            updates=tf.nest.map_structure(_many, one), weights=_many(weight)
        )
        collected_type = tff.types.tensorflow_to_type(collected)

        @tff.tensorflow.computation
        def nobody():
            return tf.nest.map_structure(
                lambda spec: tf.zeros([0, *spec.shape[1:]], spec.dtype),
                collected,
            )

        @tff.tensorflow.computation(
            collected_type, tff.to_type((value_type, weight_type))
        )
        def add(found, client):
            new = collections.OrderedDict(updates=client[0], weights=client[1])
            return tf.nest.map_structure(
                # Nothing more, or the runtime could not do it at once
                # (`runtime.in_process.collecting`).
                lambda many, one: tf.concat([many, tf.expand_dims(one, 0)], 0),
                found,
                new,
            )

        @tff.tensorflow.computation(collected_type, collected_type)
        def merge(first, second):
            return tf.nest.map_structure(
                lambda *both: tf.concat(both, 0), first, second
            )

        @tff.tensorflow.computation(collected_type)
        def report(found):
            return self._report(found["updates"], found["weights"], one)

        @tff.federated_computation
        def initialize():
            return tff.federated_value((), tff.SERVER)

        @tff.federated_computation(
            initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
            tff.FederatedType(weight_type, tff.CLIENTS),
        )
        def next_fn(state, value, weight):
            counted = tff.federated_zip(without_excluded(value, weight))
            result = tff.federated_aggregate(
                counted, nobody(), add, merge, report
            )
            nothing = tff.federated_value((), tff.SERVER)
            return tff.templates.MeasuredProcessOutput(state, result, nothing)

        return tff.templates.AggregationProcess(initialize, next_fn)

    def _report(self, updates, weights, one):
        counts = weights > 0
        leaves = tf.nest.flatten(updates)

        def reduced():
            found = self.reduce(Cohort(leaves, weights, counts))
            return tf.nest.pack_sequence_as(one, found)

        return tf.cond(
            tf.reduce_any(counts),
            reduced,
            lambda: tf.nest.map_structure(
                lambda spec: tf.zeros(spec.shape, spec.dtype), one
            ),
        )


def _many(spec: tf.TensorSpec) -> tf.TensorSpec:
    return tf.TensorSpec([None, *spec.shape], spec.dtype)
