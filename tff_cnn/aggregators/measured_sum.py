"""The sum of clipped updates, with what one wants to know of it.

What is measured is computed from raw data before noise is added: NOT PRIVATE,
for simulations only.
"""

import collections

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators import clipping

# An update that was clipped has the norm of the clip but for rounding.
_ROUNDING = 1e-4


class MeasuredSumFactory(tff.aggregators.UnweightedAggregationFactory):
    """A sum that measures `num_clients`, `num_clipped` and `sum_norm`.

    The norm is that of the sum as a whole; all are float32 scalars. Beside
    them stands what the sum itself measures, as the bytes that were sent. What
    is summed are a query's records: clipped updates, alone or, in adaptive
    clipping, together with whether they were clipped.
    """

    def __init__(
        self,
        clip_norm: float,
        per_layer: bool = False,
        total: tff.aggregators.UnweightedAggregationFactory | None = None,
    ):
        """Args:
        clip_norm: That of the query, where it is fixed.
        per_layer: Whether each of n tensors was clipped to clip_norm /
          sqrt(n); an update is clipped where one of them was.
        total: What sums; None is the plain sum.
        """
        self._clip_norm = clip_norm
        self._per_layer = per_layer
        self._total = total or tff.aggregators.SumFactory()

    def create(self, value_type):
        total = self._total.create(value_type)
        least = self._clip_norm * (1 - _ROUNDING)
        norms = _leaf_norms if self._per_layer else _whole_norm

        @tff.tensorflow.computation(value_type)
        def count(record):
            if hasattr(record, "quantile_estimator_state"):
                # tensorflow_privacy sends 1/2 for below the clip, else -1/2.
                is_clipped = record.quantile_estimator_state < 0
            else:
                is_clipped = tf.reduce_any(norms(record) >= least)
            return tf.stack([1.0, tf.cast(is_clipped, tf.float32)])

        @tff.tensorflow.computation(value_type, count.type_signature.result)
        def measure(total, counts):
            vector = getattr(total, "sum_state", total)
            return collections.OrderedDict(
                num_clients=counts[0],
                num_clipped=counts[1],
                sum_norm=tf.cast(_whole_norm(vector), tf.float32),
            )

        @tff.federated_computation(
            total.initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
        )
        def next_fn(state, value):
            output = total.next(state, value)
            counts = tff.federated_sum(tff.federated_map(count, value))
            return tff.templates.MeasuredProcessOutput(
                output.state,
                output.result,
                _joined(
                    output.measurements,
                    tff.federated_map(measure, (output.result, counts)),
                ),
            )

        return tff.templates.AggregationProcess(total.initialize, next_fn)


def _joined(found, measured):
    """What a sum measures, where it measures anything, and what is here."""
    type_ = found.type_signature.member
    if not (isinstance(type_, tff.StructType) and len(type_)):
        return measured

    @tff.tensorflow.computation(type_, measured.type_signature.member)
    def join(found, measured):
        return collections.OrderedDict(found, **measured)

    return tff.federated_map(join, (found, measured))


def _whole_norm(record) -> tf.Tensor:
    return clipping.l2_norm(tf.nest.flatten(record))


def _leaf_norms(record) -> tf.Tensor:
    """Scaled so that each is clipped where a whole update would be."""
    leaves = tf.nest.flatten(record)
    norms = [clipping.l2_norm([leaf]) for leaf in leaves]
    return tf.stack(norms) * len(leaves) ** 0.5
