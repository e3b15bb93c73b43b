"""Clients clip and noise their own updates before anything is aggregated."""

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.privacy import randomizers


class LocalRandomizerFactory(tff.aggregators.WeightedAggregationFactory):
    """Randomizes each client's update, then hands it to another aggregation.

    Every client gets the weight 1, whatever it asked for: a weight, even the
    zero of an update that was not finite, is computed from the client's data.
    """

    def __init__(
        self,
        mechanism: randomizers.LocalRandomizer,
        inner: tff.aggregators.WeightedAggregationFactory,
        test_only_noise_seed: int | None = None,
    ):
        """Args:
        mechanism: What the accountant counts.
        inner: Aggregates what clients send.
        test_only_noise_seed: NOT PRIVATE where set: a client's noise becomes a
          function of this seed and of its own update.

        Raises:
          TypeError: No randomizer is known for this mechanism.
        """
        if type(mechanism) not in _RANDOMIZERS:
            raise TypeError(f"no randomizer for {type(mechanism).__name__}.")
        self._mechanism = mechanism
        self._inner = inner
        self._seed = test_only_noise_seed

    def create(self, value_type, weight_type):
        process = self._inner.create(value_type, weight_type)
        norm, draw = _RANDOMIZERS[type(self._mechanism)]

        @tff.tensorflow.computation(value_type)
        def randomize(update):
            leaves = tf.nest.flatten(update)
            # Not tf.clip_by_global_norm, which answers NaN, and so tells of
            # the data, where the norm overflows; here the factor is zero.
            clip = self._mechanism.clip_norm
            factor = clip / tf.maximum(norm(leaves), clip)
            seed = _client_seed(leaves, self._seed)
            noised = [
                leaf * factor
                + self._mechanism.scale
                * draw(
                    leaf.shape,
                    tf.random.experimental.stateless_fold_in(seed, index),
                )
                for index, leaf in enumerate(leaves)
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


def _client_seed(leaves: list[tf.Tensor], test_only_seed: int | None):
    """Of one client in one round: int32, shape [2].

    Drawn from TensorFlow's unseeded generator, which the operating system
    seeds and which every call moves on: the run's own seed, which others may
    know, must not give the noise away.
    """
    if test_only_seed is None:
        return tf.random.uniform(
            [2], tf.int32.min, tf.int32.max, dtype=tf.int32
        )
    content = tf.add_n([tf.reduce_sum(tf.bitcast(x, tf.int32)) for x in leaves])
    return tf.stack([test_only_seed, content])


def _l2_norm(leaves):
    return tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(x)) for x in leaves]))


def _l1_norm(leaves):
    return tf.add_n([tf.reduce_sum(tf.abs(leaf)) for leaf in leaves])


def _laplace(shape, seed):
    """Of scale 1: the difference of two exponential variables."""
    # In [0, 1); float64, because float32 would cut the tails off at 16.
    uniform = tf.random.stateless_uniform([2, *shape], seed, dtype=tf.float64)
    first, second = tf.unstack(-tf.math.log1p(-uniform))
    return tf.cast(first - second, tf.float32)


# Description -> (norm, noise of scale 1); subclasses might count differently.
_RANDOMIZERS = {
    randomizers.LocalGaussian: (_l2_norm, tf.random.stateless_normal),
    randomizers.LocalLaplace: (_l1_norm, _laplace),
}
