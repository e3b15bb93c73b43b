"""Distributed DP: clients add integer noise, a secure sum hides who sent what.

The parts are those of `tff.aggregators.DistributedDpSumFactory`, in its order.
It is not used itself for two reasons: scale, norms and noise come from the
mechanism that the accountant counts, not from a computation of its own; and
tensorflow_privacy seeds Skellam noise with the clock in microseconds, which can
be guessed and which two clients may share, and discrete Gaussian noise with 32
bits.

The rounding of TFF is seeded by the clock, and the rotation's seed, by the
clock too, stands in the state. No guarantee rests on them: the norm is bounded
however numbers are rounded, and the rotation is public.

Clients clip and add their noise themselves, and of a sum the server could not
tell who has left that out. Here nobody does: an attack is on what is clipped,
and attackers add their shares of the noise.
"""

import collections

import tensorflow as tf
import tensorflow_federated as tff
import tensorflow_privacy as tfp

from tff_cnn.aggregators import clipping, integer_noise, noise
from tff_cnn.aggregators.masking.rings import Ring
from tff_cnn.aggregators.measured_sum import MeasuredSumFactory
from tff_cnn.aggregators.noise import NoiseSeed
from tff_cnn.privacy import distributed


class DistributedMeanFactory(tff.aggregators.UnweightedAggregationFactory):
    """The noised sum of clipped updates, divided by the expected cohort.

    What it measures as `dp` is raw: NOT PRIVATE, for simulations only. Where
    the server must not see sums without noise, leave it out. `bytes_up`, int64,
    are of the integers that all clients send.
    """

    def __init__(
        self,
        mechanism: distributed.DistributedMechanism,
        noise_seed: NoiseSeed,
    ):
        """Args:
        mechanism: What the accountant counts.
        noise_seed: Secret, see `noise.client_seed`.
        """
        self._mechanism = mechanism
        self._seed = noise_seed

    def create(self, value_type):
        mechanism = self._mechanism
        specs = tf.nest.flatten(tff.types.type_to_tf_tensor_specs(value_type))
        size = sum(spec.shape.num_elements() for spec in specs)
        if size > mechanism.num_parameters:
            raise ValueError(
                f"updates have {size} numbers, and the mechanism counts "
                f"{mechanism.num_parameters}."
            )
        total = _noised_sum(mechanism, self._seed).create(value_type)
        raw = MeasuredSumFactory(mechanism.clip_norm).create(value_type)

        @tff.tensorflow.computation(value_type)
        def clip(update):
            return clipping.clip(update, mechanism.clip_norm)[0]

        @tff.tensorflow.computation(value_type)
        def divide(noised):
            return tf.nest.map_structure(
                lambda leaf: leaf / mechanism.expected_cohort, noised
            )

        @tff.federated_computation
        def initialize():
            return tff.federated_zip((total.initialize(), raw.initialize()))

        @tff.federated_computation(
            initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
        )
        def next_fn(state, value):
            clipped = tff.federated_map(clip, value)
            noised = total.next(state[0], clipped)
            measured = raw.next(state[1], clipped)
            return tff.templates.MeasuredProcessOutput(
                tff.federated_zip((noised.state, measured.state)),
                tff.federated_map(divide, noised.result),
                tff.federated_zip(
                    collections.OrderedDict(
                        dp=measured.measurements, sent=noised.measurements
                    )
                ),
            )

        return tff.templates.AggregationProcess(initialize, next_fn)


def _noised_sum(
    mechanism: distributed.DistributedMechanism, noise_seed: NoiseSeed
):
    """From the inside out: secure sum, noise, rounding, clip, rotation."""
    aggregators = tff.aggregators
    factory = _ModularSumFactory(mechanism.bits)
    factory = aggregators.DifferentiallyPrivateFactory(
        _QUERIES[type(mechanism)](mechanism, noise_seed), factory
    )
    factory = aggregators.discretization.DiscretizationFactory(
        factory,
        scale_factor=mechanism.scale,
        stochastic=True,
        beta=0.0,
        prior_norm_bound=mechanism.clip_norm,
    )
    # Again, after the rotation, which is exact up to rounding in float32 only.
    factory = clipping.ClippingFactory(mechanism.clip_norm, factory)
    factory = aggregators.HadamardTransformFactory(factory)
    return aggregators.concat_factory(factory)


class _ModularSumFactory(tff.aggregators.UnweightedAggregationFactory):
    """TFF's secure sum of integers of so many bits, which measures `bytes_up`.

    Modulo 2^bits - 1, so that a sum has a sign.
    """

    def __init__(self, bits: int):
        self._ring = Ring(2**bits - 1)
        self._total = tff.aggregators.SecureModularSumFactory(
            2 ** (bits - 1), symmetric_range=True
        )

    def create(self, value_type):
        total = self._total.create(value_type)
        specs = tf.nest.flatten(tff.types.type_to_tf_tensor_specs(value_type))
        size = sum(spec.shape.num_elements() for spec in specs)

        @tff.tensorflow.computation
        def num_bytes():
            return tf.constant(size * self._ring.num_bytes, tf.int64)

        @tff.federated_computation(
            total.initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
        )
        def next_fn(state, value):
            output = total.next(state, value)
            sent = tff.federated_sum(tff.federated_eval(num_bytes, tff.CLIENTS))
            return tff.templates.MeasuredProcessOutput(
                output.state,
                output.result,
                tff.federated_zip(collections.OrderedDict(bytes_up=sent)),
            )

        return tff.templates.AggregationProcess(total.initialize, next_fn)


class _SkellamSumQuery(tfp.DistributedSkellamSumQuery):
    """tensorflow_privacy's, with noise that nobody can guess."""

    def __init__(self, l1_norm_bound, l2_norm_bound, local_stddev, noise_seed):
        super().__init__(l1_norm_bound, l2_norm_bound, local_stddev)
        self._seed = noise_seed

    def add_noise_to_sample(self, local_stddev, record):
        return _add(record, local_stddev, self._seed, integer_noise.skellam)


class _DiscreteGaussianSumQuery(tfp.DistributedDiscreteGaussianSumQuery):
    """tensorflow_privacy's, with noise that nobody can guess."""

    def __init__(self, l2_norm_bound, local_stddev, noise_seed):
        super().__init__(l2_norm_bound, local_stddev)
        self._seed = noise_seed

    def _add_local_noise(self, record, local_stddev, shares=1):
        if shares != 1:  # TFF asks for one client's; more are not tested.
            raise NotImplementedError("noise of several clients at once.")
        draw = integer_noise.discrete_gaussian
        return _add(record, local_stddev, self._seed, draw)


def _add(record, stddev, noise_seed, draw):
    seed = noise.client_seed(noise_seed)
    noised = [
        leaf + tf.cast(draw(leaf.shape, stddev, seed, index), leaf.dtype)
        for index, leaf in enumerate(tf.nest.flatten(record))
    ]
    return tf.nest.pack_sequence_as(record, noised)


def _discrete_gaussian(
    mechanism: distributed.DistributedDiscreteGaussian, noise_seed: NoiseSeed
):
    return _DiscreteGaussianSumQuery(
        mechanism.scaled_l2, mechanism.scaled_local_stddev, noise_seed
    )


def _skellam(mechanism: distributed.DistributedSkellam, noise_seed: NoiseSeed):
    return _SkellamSumQuery(
        mechanism.scaled_l1,
        mechanism.scaled_l2,
        mechanism.scaled_local_stddev,
        noise_seed,
    )


_QUERIES = {
    distributed.DistributedDiscreteGaussian: _discrete_gaussian,
    distributed.DistributedSkellam: _skellam,
}
