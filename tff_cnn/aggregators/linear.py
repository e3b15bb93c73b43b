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

from tff_cnn.aggregators import stateful
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

        @tff.tensorflow.computation(value_type, stateful.NUMBER)
        def encode(update, number):
            return self._encoded(tf.nest.flatten(update), number)

        encoded_type = encode.type_signature.result
        process = self._inner.create(encoded_type, weight_type)

        @tff.tensorflow.computation(encoded_type, stateful.NUMBER)
        def decode(mean, number):
            shared = shared_seed(number)
            found = self._codec.decode(list(mean), (), specs, shared)
            like = tff.types.type_to_tf_tensor_specs(value_type)
            return tf.nest.pack_sequence_as(like, found)

        def step(number, value, weight, behind):
            sent = tff.federated_map(
                encode, (value, tff.federated_broadcast(number))
            )
            output = behind(sent, weight)
            mean = tff.federated_map(decode, (output.result, number))
            return output.state, mean, output.measurements

        return stateful.numbered(process, value_type, weight_type, step)

    def _encoded(self, leaves: list[tf.Tensor], number: tf.Tensor) -> Any:
        shared = shared_seed(number)
        # Nothing that is a client's own: the server could not undo it.
        found, beside = self._codec.encode(leaves, Seeds(shared, shared))
        if tf.nest.flatten(beside):
            raise ValueError("a linear code has nothing beside its numbers.")
        return tuple(found)
