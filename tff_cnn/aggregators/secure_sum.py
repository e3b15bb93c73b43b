"""A mean of which the server sees sums of integers alone.

What Bonawitz et al. 2017 sum are integers modulo R; this makes them of updates
(as Bonawitz et al. 2019, "Federated Learning with Autotuned Communication-
Efficient Secure Aggregation", without its autotuning).

    1. Client k with update x_k and weight w_k, of at most W: clips each number
       of x_k to [-B, B].
    2. It sends the integers v_k = round(L w_k x_k / B), round(L w_k), and two
       more for counting: 1, and whether it has clipped anything; all modulo R.
    3. The server gets their sums modulo R, and from them
       B sum_k v_k / sum_k round(L w_k), a weighted mean.

    symbol   name
    B        `bound`
    W        `max_weight`
    L        `levels` of the integer code: 2^(bits - 1) - 1
    R        `modulus`: a power of two above 2 n L W for n = `max_clients`

So weights are summed securely too, and no sum of n clients can overflow; a
round of more of them fails. A client whose update is not finite, or of weight
zero, sends zeros and counts nowhere. Of a cohort of one the sum is its update.

Clients and server take O(m) for m numbers. A client sends m + 3 numbers of
ceil(log2(R) / 8) bytes, beside what the protocol that sums them needs.

How the sum is executed is no matter of this file (`core.secure_sums`).
"""

import collections
import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators.encoded import own_seed
from tff_cnn.aggregators.masking.rings import Ring
from tff_cnn.aggregators.secure_options import num_levels, ring_bits

# Weight, whether it counts, whether it was clipped.
_BESIDE = 3


@dataclasses.dataclass(frozen=True)
class IntegerCode:
    """How numbers in [-1, 1] become integers.

    Attributes:
      levels: L: 1 becomes L, -1 becomes -L.
      rounded: (float64 tensor, seed) -> integers next to it, float64. The seed
        is int64, [2], of the client's update; it is no secret.
    """

    levels: int
    rounded: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def nearest(bits: int) -> IntegerCode:
    """The nearest of 2^bits - 1 integers."""
    return IntegerCode(num_levels(bits), lambda x, seed: tf.round(x))


def towards_zero(bits: int) -> IntegerCode:
    """The next of 2^bits - 1 integers towards zero: no norm ever grows."""
    return IntegerCode(
        num_levels(bits), lambda x, seed: tf.sign(x) * tf.floor(tf.abs(x))
    )


class SecureMeanFactory(tff.aggregators.WeightedAggregationFactory):
    """See the module.

    It measures, int64: `secure_clients` that are in the sum, `secure_clipped`
    of them, and `bytes_up` of the integers that all clients send.
    """

    def __init__(
        self,
        bound: float,
        code: IntegerCode,
        max_weight: int,
        max_clients: int,
    ):
        """Args:
        bound: B, > 0.
        code: With L.
        max_weight: W, >= 1; a client of more counts so much.
        max_clients: n.
        """
        self._bound = bound
        self._code = code
        self._max_weight = max_weight
        self._max_clients = max_clients
        self.ring = Ring(2 ** ring_bits(code.levels, max_weight, max_clients))

    def create(self, value_type, weight_type):
        specs = tff.types.type_to_tf_tensor_specs(value_type)
        size = sum(s.shape.num_elements() for s in tf.nest.flatten(specs))
        sum_type = tff.TensorType(np.int64, (size + _BESIDE,))
        total = tff.aggregators.SecureModularSumFactory(
            np.int64(self.ring.modulus)
        ).create(sum_type)
        num_bytes = (size + _BESIDE) * self.ring.num_bytes

        @tff.tensorflow.computation(value_type, weight_type)
        def encode(update, weight):
            return self._encoded(update, weight)

        @tff.tensorflow.computation(sum_type)
        def decode(total):
            return self._decoded(total, specs)

        @tff.tensorflow.computation
        def one():
            return tf.constant(num_bytes, tf.int64)

        @tff.tensorflow.computation(decode.type_signature.result[1], np.int64)
        def measured(counts, size):
            return collections.OrderedDict(counts, bytes_up=size)

        @tff.federated_computation(
            total.initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
            tff.FederatedType(weight_type, tff.CLIENTS),
        )
        def next_fn(state, value, weight):
            sent = tff.federated_map(encode, (value, weight))
            output = total.next(state, sent)
            mean, counts = tff.federated_map(decode, output.result)
            sizes = tff.federated_sum(tff.federated_eval(one, tff.CLIENTS))
            return tff.templates.MeasuredProcessOutput(
                output.state,
                mean,
                tff.federated_map(measured, (counts, sizes)),
            )

        return tff.templates.AggregationProcess(total.initialize, next_fn)

    def _encoded(self, update, weight):
        """Step 1 and 2: int64, [m + 3], in [0, R)."""
        leaves = [tf.reshape(leaf, [-1]) for leaf in tf.nest.flatten(update)]
        vector = tf.cast(tf.concat(leaves, 0), tf.float64) / self._bound
        weight = tf.cast(weight, tf.float64)
        counts = (
            tf.reduce_all(tf.math.is_finite(vector))
            & tf.math.is_finite(weight)
            & (weight > 0)
        )
        weight = tf.where(
            counts, tf.minimum(weight, self._max_weight), tf.zeros_like(weight)
        )
        is_clipped = counts & tf.reduce_any(tf.abs(vector) > 1)
        scaled = tf.where(
            counts, tf.clip_by_value(vector, -1, 1), tf.zeros_like(vector)
        )
        numbers = tf.concat([scaled, [1.0]], 0) * weight * self._code.levels
        seed = own_seed(
            [tf.cast(leaf, tf.float32) for leaf in leaves],
            tf.constant(0, tf.int64),
        )
        integers = tf.cast(self._code.rounded(numbers, seed), tf.int64)
        beside = tf.cast(tf.stack([counts, is_clipped]), tf.int64)
        return tf.math.floormod(
            tf.concat([integers, beside], 0), self.ring.modulus
        )

    def _decoded(self, total, specs):
        """Step 3: the mean, and what was counted."""
        half = self.ring.modulus // 2
        total = tf.where(total >= half, total - self.ring.modulus, total)
        *_, num_clients, num_clipped = tf.unstack(total[-2:])
        fits = tf.debugging.assert_less_equal(
            num_clients,
            np.int64(self._max_clients),
            "a secure sum of more clients than <aggregator.secure_max_clients>",
        )
        with tf.control_dependencies([fits]):
            weight = tf.cast(tf.maximum(total[-_BESIDE], 0), tf.float64)
        mean = tf.math.divide_no_nan(
            tf.cast(total[:-_BESIDE], tf.float64), weight
        )
        flat = tf.nest.flatten(specs)
        parts = tf.split(
            mean * self._bound, [s.shape.num_elements() for s in flat]
        )
        leaves = [
            tf.cast(tf.reshape(part, spec.shape), spec.dtype)
            for part, spec in zip(parts, flat, strict=True)
        ]
        counts = collections.OrderedDict(
            secure_clients=num_clients, secure_clipped=num_clipped
        )
        return tf.nest.pack_sequence_as(specs, leaves), counts


class SecureRecordSumFactory(tff.aggregators.UnweightedAggregationFactory):
    """The sum of records that are bounded already, as central DP makes them.

    Each number is clipped to [-B, B] and rounded towards zero, so that a record
    is no longer than it was and the noise that was calibrated to its norm still
    covers it. A record that is not finite is zeros.
    """

    def __init__(self, bound: float, bits: int, max_clients: int):
        """Args:
        bound: B, > 0.
        bits: Of an integer.
        max_clients: n.
        """
        self._mean = SecureMeanFactory(
            bound, towards_zero(bits), 1, max_clients
        )
        self._levels = num_levels(bits)

    def create(self, value_type):
        mean = self._mean.create(value_type, tff.TensorType(np.float32))

        @tff.tensorflow.computation
        def one():
            return tf.constant(1.0)

        counts_type = mean.next.type_signature.result.measurements.member

        @tff.tensorflow.computation(value_type, counts_type)
        def multiplied(mean, counts):
            return tf.nest.map_structure(
                lambda leaf: (
                    leaf * tf.cast(counts["secure_clients"], leaf.dtype)
                ),
                mean,
            )

        @tff.federated_computation(
            mean.initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
        )
        def next_fn(state, value):
            weight = tff.federated_eval(one, tff.CLIENTS)
            output = mean.next(state, value, weight)
            return tff.templates.MeasuredProcessOutput(
                output.state,
                tff.federated_map(
                    multiplied, (output.result, output.measurements)
                ),
                output.measurements,
            )

        return tff.templates.AggregationProcess(mean.initialize, next_fn)


def build_secure_sum(
    secure_bound: float,
    secure_bits: int,
    secure_max_weight: int,
    secure_max_clients: int,
    code: IntegerCode | None = None,
    **protocol,
) -> SecureMeanFactory:
    """The aggregator; options are those of its entry.

    Args:
      secure_bound: B.
      secure_bits: Of an integer, where `code` is None.
      secure_max_weight: W.
      secure_max_clients: n.
      code: How numbers become integers; None is the nearest.
      **protocol: Options of what executes the sum, which is the run's matter.
    """
    del protocol
    code = code or nearest(secure_bits)
    return SecureMeanFactory(
        secure_bound, code, secure_max_weight, secure_max_clients
    )


def build_record_sum(
    secure_bound: float, secure_bits: int, secure_max_clients: int, **others
) -> SecureRecordSumFactory:
    """What sums the records of central DP; options are the entry's."""
    del others
    return SecureRecordSumFactory(secure_bound, secure_bits, secure_max_clients)
