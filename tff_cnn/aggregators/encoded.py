"""Aggregation of encoded updates, with the bytes that were sent."""

import collections

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators import stateful
from tff_cnn.aggregators.codecs import Codecs, Seeds
from tff_cnn.aggregators.excluded import without_excluded

# With each update goes its weight.
WEIGHT_BYTES = 4


class EncodedFactory(tff.aggregators.WeightedAggregationFactory):
    """Clients encode, the server decodes and hands on to another aggregation.

    It measures `bytes_up`, int64: of all clients' payloads as they are sent,
    with their weights; beside what the inner aggregation measures.

    The state is the number of the round, of which the seed that all share is
    made: a resumed run goes on with its codes.
    """

    def __init__(
        self, codecs: Codecs, inner: tff.aggregators.WeightedAggregationFactory
    ):
        """Args:
        codecs: What clients do.
        inner: Aggregates what is decoded.
        """
        self._codecs = codecs
        self._inner = inner

    def create(self, value_type, weight_type):
        process = self._inner.create(value_type, weight_type)

        @tff.tensorflow.computation(value_type, stateful.NUMBER)
        def transmit(update, number):
            leaves = tf.nest.flatten(update)
            seeds = Seeds(shared_seed(number), own_seed(leaves, number))
            found, size = self._codecs.transmitted(leaves, seeds)
            return (
                tf.nest.pack_sequence_as(update, found),
                size + WEIGHT_BYTES,
            )

        def step(number, value, weight, behind):
            # No code says that an update was not finite.
            value, weight = without_excluded(value, weight)
            decoded, size = tff.federated_map(
                transmit, (value, tff.federated_broadcast(number))
            )
            output = behind(decoded, weight)
            measured = _measured(output.measurements, tff.federated_sum(size))
            return output.state, output.result, measured

        return stateful.numbered(process, value_type, weight_type, step)


def shared_seed(number: tf.Tensor) -> tf.Tensor:
    """Of a round: int64, [2]; known to everybody."""
    return tf.stack([number, tf.constant(0, tf.int64)])


def own_seed(leaves: list[tf.Tensor], number: tf.Tensor) -> tf.Tensor:
    """Of a client's update and of the round: int64, [2]; no secret."""
    bits = [tf.cast(tf.bitcast(leaf, tf.int32), tf.int64) for leaf in leaves]
    return tf.stack([tf.add_n([tf.reduce_sum(b) for b in bits]), number + 1])


def _measured(measurements, size):
    """What the inner aggregation measures, and `bytes_up`."""
    type_ = measurements.type_signature.member
    if not (isinstance(type_, tff.StructType) and len(type_)):
        return tff.federated_zip(collections.OrderedDict(bytes_up=size))

    @tff.tensorflow.computation(type_, size.type_signature.member)
    def joined(found, size):
        return collections.OrderedDict(found, bytes_up=size)

    return tff.federated_map(joined, (measurements, size))
