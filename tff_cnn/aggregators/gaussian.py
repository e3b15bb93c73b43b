"""Sums of clipped records with fresh Gaussian noise in every round.

The states of these queries are tensorflow_privacy's and a counter of rounds,
`noise_round`, which decides the noise together with the seed.
"""

from typing import Any, NamedTuple

import dp_accounting
import tensorflow as tf
import tensorflow_privacy as tfp

from tff_cnn.aggregators import clipping, noise

# Where an adaptive clip stays. Without bounds it would reach zero or infinity
# after a thousand rounds of one direction, and noise and sum with it.
_CLIP_RANGE = (1e-20, 1e20)
# The count's place among the leaves: before the first one of the sum.
_COUNT_INDEX = -1


class GaussianSumQuery(tfp.GaussianSumQuery):
    """Clips a record as a whole and adds noise to the sum."""

    class GlobalState(NamedTuple):
        """What is kept from round to round.

        Attributes:
          l2_norm_clip: float32.
          stddev: Of the noise, float32.
          noise_round: int32, rounds so far, with or without clients.
        """

        l2_norm_clip: Any
        stddev: Any
        noise_round: Any

    def __init__(
        self,
        l2_norm_clip: float,
        stddev: float,
        noise_seed: noise.NoiseSeed,
        first_index: int = 0,
    ):
        """Args:
        l2_norm_clip: Bound of a record.
        stddev: Of the noise on the sum.
        noise_seed: Secret, see `noise`.
        first_index: Of the record's first leaf; queries that share a seed must
          not share indices.
        """
        super().__init__(l2_norm_clip, stddev)
        self._seed = noise_seed
        self._first_index = first_index

    def make_global_state(self, l2_norm_clip, stddev, noise_round=0):
        return self.GlobalState(
            tf.cast(l2_norm_clip, tf.float32),
            tf.cast(stddev, tf.float32),
            tf.cast(noise_round, tf.int32),
        )

    def preprocess_record_impl(self, params, record):
        return clipping.clip(record, params)

    def get_noised_result(self, sample_state, global_state):
        clip, stddev, noise_round = global_state
        drawn = noise.normal(
            sample_state, stddev, self._seed, noise_round, self._first_index
        )
        noised = tf.nest.map_structure(tf.add, sample_state, drawn)
        new_state = self.make_global_state(clip, stddev, noise_round + 1)
        return noised, new_state, dp_accounting.GaussianDpEvent(stddev / clip)


class PerLayerSumQuery(GaussianSumQuery):
    """Clips each of n tensors to l2_norm_clip / sqrt(n)."""

    def preprocess_record_impl(self, params, record):
        leaves = tf.nest.flatten(record)
        bound = params / len(leaves) ** 0.5
        clipped = [clipping.clip(leaf, bound)[0] for leaf in leaves]
        _, norm = clipping.clip(record, params)
        return tf.nest.pack_sequence_as(record, clipped), norm


class AdaptiveClipSumQuery(tfp.QuantileAdaptiveClipSumQuery):
    """tensorflow_privacy's, with noise of ours on sum and count."""

    def __init__(self, noise_seed: noise.NoiseSeed, **parameters):
        """Args:
        noise_seed: Secret, see `noise`.
        **parameters: Of `tfp.QuantileAdaptiveClipSumQuery`.
        """
        super().__init__(**parameters)
        # tensorflow_privacy builds its inner queries itself and offers no way
        # to pass others in.
        clip = parameters["initial_l2_norm_clip"]
        self._sum_query = GaussianSumQuery(
            clip, clip * parameters["noise_multiplier"], noise_seed
        )
        count_query = GaussianSumQuery(
            0.5, parameters["clipped_count_stddev"], noise_seed, _COUNT_INDEX
        )
        self._quantile_estimator_query._below_estimate_query = (
            tfp.NormalizedQuery(
                count_query, denominator=parameters["expected_num_records"]
            )
        )

    def get_noised_result(self, sample_state, global_state):
        noised, new_state, event = super().get_noised_result(
            sample_state, global_state
        )
        quantile_state = new_state.quantile_estimator_state
        clip = tf.clip_by_value(quantile_state.current_estimate, *_CLIP_RANGE)
        new_state = new_state._replace(
            sum_state=self._sum_query.make_global_state(
                clip,
                clip * global_state.noise_multiplier,
                global_state.sum_state.noise_round + 1,
            ),
            quantile_estimator_state=quantile_state._replace(
                current_estimate=clip
            ),
        )
        return noised, new_state, event
