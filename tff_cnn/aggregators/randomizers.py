"""Clients clip and noise their own updates before anything is aggregated."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators import clipping, noise
from tff_cnn.aggregators.noise import NoiseSeed, check_seed
from tff_cnn.core import registry
from tff_cnn.privacy import LOCAL_RANDOMIZERS, randomizers


class LocalRandomizerFactory(tff.aggregators.WeightedAggregationFactory):
    """Randomizes each client's update, then hands it to another aggregation.

    Every client gets the weight 1, whatever it asked for: a weight, even the
    zero of an update that was not finite, is computed from the client's data.
    """

    def __init__(
        self,
        mechanism: randomizers.LocalRandomizer,
        inner: tff.aggregators.WeightedAggregationFactory,
        noise_seed: NoiseSeed,
        *,
        deterministic: bool = False,
    ):
        """Args:
        mechanism: What the accountant counts.
        inner: Aggregates what clients send.
        noise_seed: Secret, see `noise`; each call's noise also depends on what
          no seed decides (`noise.client_seed`).
        deterministic: NOT PRIVATE where set: a client's noise becomes a
          function of the seed and of its own update.

        Raises:
          TypeError: No randomizer is known for this mechanism.
          ValueError: The seed is none.
        """
        # Of exactly this class: subclasses might count differently.
        entry = LOCAL_RANDOMIZERS.built_by(type(mechanism))
        if entry is None:
            raise TypeError(f"no randomizer for {type(mechanism).__name__}.")
        self._randomizer = registry.load(entry.facts["randomizer"])
        self._mechanism = mechanism
        self._inner = inner
        self._seed = check_seed(noise_seed)
        self._deterministic = deterministic

    def create(self, value_type, weight_type):
        process = self._inner.create(value_type, weight_type)
        norm_of, draw = self._randomizer

        @tff.tensorflow.computation(value_type)
        def randomize(update):
            leaves = tf.nest.flatten(update)
            clipped, _ = clipping.clip(
                leaves, self._mechanism.clip_norm, norm_of
            )
            if self._deterministic:
                seed = self._seed + _content(leaves)
            else:
                seed = noise.client_seed(self._seed)
            noised = [
                leaf
                + self._mechanism.scale
                * draw(leaf.shape, noise.stream(seed, 0, index))
                for index, leaf in enumerate(clipped)
            ]
            return tf.nest.pack_sequence_as(update, noised)

        @tff.tensorflow.computation(weight_type)
        def one(weight):
            return tf.ones_like(weight)

        @tff.federated_computation(
            process.initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
            tff.FederatedType(weight_type, tff.CLIENTS),
        )
        def next_fn(state, value, weight):
            return process.next(
                state,
                tff.federated_map(randomize, value),
                tff.federated_map(one, weight),
            )

        return tff.templates.AggregationProcess(process.initialize, next_fn)


def _content(leaves: list[tf.Tensor]) -> tf.Tensor:
    """A digest of an update: int64, shape [2]."""
    bits = [tf.cast(tf.bitcast(leaf, tf.int32), tf.int64) for leaf in leaves]
    total = tf.add_n([tf.reduce_sum(leaf) for leaf in bits])
    return tf.stack([total, tf.zeros_like(total)])


def _laplace(shape, seed):
    """Laplace noise of scale 1: the difference of two exponentials."""
    # In [0, 1); float64, because float32 would cut the tails off at 16.
    uniform = tf.random.stateless_uniform([2, *shape], seed, dtype=tf.float64)
    first, second = tf.unstack(-tf.math.log1p(-uniform))
    return tf.cast(first - second, tf.float32)


class Randomizer(NamedTuple):
    """What a description in `privacy.randomizers` stands for.

    Attributes:
      norm_of: Leaves of an update -> the norm that is bounded, float64.
      draw: (shape, seed) -> noise of scale 1, float32.
    """

    norm_of: Callable[[list[tf.Tensor]], tf.Tensor]
    draw: Callable[..., tf.Tensor]


GAUSSIAN = Randomizer(clipping.l2_norm, tf.random.stateless_normal)
LAPLACE = Randomizer(clipping.l1_norm, _laplace)
