"""Linear codes in front of a sum: the server decodes once, what was summed.

Where decoding is linear, and the same for all clients of a round, what the mean
of encoded updates decodes to is the mean of what each of them does:

    1. the server tells the number of the round
    2. client k sends c(x_k), c drawn of that number      (`Codec.encode`)
    3. an aggregation has the mean m of these, and sees no single one
    4. the server has d(m), d undoing c                   (`Codec.decode`)

So a random rotation goes before a secure sum of integers, as in Kairouz, Liu &
Steinke 2021, "The Distributed Discrete Gaussian Mechanism for Federated
Learning with Secure Aggregation", and in TFF's compressed secure sums: numbers
of about one size need fewer levels, and of a bound B on each of them an update
of norm |x| with d numbers has about |x| / sqrt(d).

Time and memory are the codec's, at each client and once at the server. Bytes
are those of what is behind, of as many numbers as the codec makes.
"""

from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators.codecs import Codec, Seeds
from tff_cnn.aggregators.encoded import shared_seed


class LinearFactory(tff.aggregators.WeightedAggregationFactory):
    """Clients encode, another aggregation sums, the server decodes the sum.

    The state is (number of the round, that of what is behind), so that a run
    that is resumed goes on with its codes. It measures what is behind.
    """

    def __init__(
        self, codec: Codec, inner: tff.aggregators.WeightedAggregationFactory
    ):
        """Args:
        codec: Whose decoding is linear, and that sends nothing but numbers.
        inner: Whose aggregate is a weighted mean.
        """
        self._codec = codec
        self._inner = inner

    def create(self, value_type, weight_type):
        specs = tf.nest.flatten(tff.types.type_to_tf_tensor_specs(value_type))
        number_type = tff.TensorType(tf.int64.as_numpy_dtype)

        @tff.tensorflow.computation(value_type, number_type)
        def encode(update, number):
            return self._encoded(tf.nest.flatten(update), number)

        encoded_type = encode.type_signature.result
        process = self._inner.create(encoded_type, weight_type)

        @tff.tensorflow.computation(encoded_type, number_type)
        def decode(mean, number):
            shared = shared_seed(number)
            found = self._codec.decode(list(mean), (), specs, shared)
            like = tff.types.type_to_tf_tensor_specs(value_type)
            return tf.nest.pack_sequence_as(like, found)

        @tff.tensorflow.computation
        def first():
            return tf.constant(0, tf.int64)

        @tff.tensorflow.computation(number_type)
        def next_number(number):
            return number + 1

        @tff.federated_computation
        def initialize():
            return tff.federated_zip(
                (tff.federated_eval(first, tff.SERVER), process.initialize())
            )

        @tff.federated_computation(
            initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
            tff.FederatedType(weight_type, tff.CLIENTS),
        )
        def next_fn(state, value, weight):
            number, inner_state = state
            sent = tff.federated_map(
                encode, (value, tff.federated_broadcast(number))
            )
            output = process.next(inner_state, sent, weight)
            return tff.templates.MeasuredProcessOutput(
                tff.federated_zip(
                    (tff.federated_map(next_number, number), output.state)
                ),
                tff.federated_map(decode, (output.result, number)),
                output.measurements,
            )

        return tff.templates.AggregationProcess(initialize, next_fn)

    def _encoded(self, leaves: list[tf.Tensor], number: tf.Tensor) -> Any:
        shared = shared_seed(number)
        # Nothing that is a client's own: the server could not undo it.
        found, beside = self._codec.encode(leaves, Seeds(shared, shared))
        if tf.nest.flatten(beside):
            raise ValueError("a linear code has nothing beside its numbers.")
        return tuple(found)
