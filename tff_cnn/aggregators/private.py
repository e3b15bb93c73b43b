"""DP-FedAvg aggregation: TFF's factory over tensorflow_privacy's queries."""

import functools

import tensorflow as tf
import tensorflow_federated as tff
import tensorflow_privacy as tfp

from tff_cnn.aggregators import correlated as correlated_queries
from tff_cnn.aggregators.diagnostics import DiagnosticSumFactory
from tff_cnn.aggregators.distributed import DistributedMeanFactory
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import correlated, distributed
from tff_cnn.privacy import mechanism as mechanisms


def build(
    mechanism: mechanisms.CentralMechanism,
    test_only_noise_seed: int | None = None,
) -> tff.aggregators.UnweightedAggregationFactory:
    """The aggregation that `mechanism` describes.

    Args:
      mechanism: What the accountant counts.
      test_only_noise_seed: NOT PRIVATE where set: the noise becomes a function
        of this seed and the data, so that two runs can be compared bit by bit.

    Raises:
      TypeError: No aggregation is known for this mechanism.
      UsageError: Its noise cannot be seeded.
    """
    if type(mechanism) in _DISTRIBUTED:
        if test_only_noise_seed is not None:
            raise UsageError(
                f"--test_only_deterministic_noise does not go with --dp="
                f"{mechanism.name}, whose noise clients draw: use another --dp."
            )
        return DistributedMeanFactory(mechanism)
    build_query = _CORRELATED_QUERIES.get(type(mechanism))
    if build_query is not None:
        return correlated_queries.QueryFactory(
            functools.partial(
                build_query, mechanism, seed=test_only_noise_seed
            ),
            mechanism.expected_cohort,
            DiagnosticSumFactory(mechanism.clip_norm),
        )
    build_query = _QUERIES.get(type(mechanism))
    if build_query is None:
        raise TypeError(f"no aggregator for {type(mechanism).__name__}.")
    query = build_query(mechanism, test_only_noise_seed)
    return tff.aggregators.DifferentiallyPrivateFactory(
        tfp.NormalizedQuery(query, denominator=mechanism.expected_cohort),
        DiagnosticSumFactory(
            mechanism.clip_norm,
            per_layer=isinstance(mechanism, mechanisms.PerLayerClipGaussian),
        ),
    )


def _fixed_clip(mechanism: mechanisms.FixedClipGaussian, seed):
    return _gaussian_sum(
        mechanism.clip_norm,
        mechanism.clip_norm * mechanism.noise_multiplier,
        seed,
    )


def _adaptive_clip(mechanism: mechanisms.AdaptiveClipGaussian, seed):
    parameters = dict(
        initial_l2_norm_clip=mechanism.clip_norm,
        noise_multiplier=mechanism.sum_noise_multiplier,
        target_unclipped_quantile=mechanism.target_quantile,
        learning_rate=mechanism.clip_learning_rate,
        clipped_count_stddev=mechanism.count_stddev,
        expected_num_records=mechanism.expected_cohort,
        geometric_update=True,
    )
    if seed is None:
        return tfp.QuantileAdaptiveClipSumQuery(**parameters)
    return _SeededAdaptiveClipSumQuery(seed, **parameters)


def _per_layer_clip(mechanism: mechanisms.PerLayerClipGaussian, seed):
    stddev = mechanism.clip_norm * mechanism.noise_multiplier
    if seed is None:
        return _PerLayerSumQuery(mechanism.clip_norm, stddev)
    return _SeededPerLayerSumQuery(seed, mechanism.clip_norm, stddev)


_QUERIES = {
    mechanisms.FixedClipGaussian: _fixed_clip,
    mechanisms.PerLayerClipGaussian: _per_layer_clip,
    mechanisms.AdaptiveClipGaussian: _adaptive_clip,
}
# Their state has the shape of what is aggregated, so they are built later.
_CORRELATED_QUERIES = {
    correlated.TreeAggregation: correlated_queries.tree_query,
    correlated.BandedMatrixFactorization: correlated_queries.banded_query,
    correlated.BltMatrixFactorization: correlated_queries.blt_query,
    correlated.ReleaseNoise: correlated_queries.release_query,
}
_DISTRIBUTED = (
    distributed.DistributedDiscreteGaussian,
    distributed.DistributedSkellam,
)


def _gaussian_sum(clip_norm, stddev, seed):
    if seed is None:
        return tfp.GaussianSumQuery(clip_norm, stddev)
    return _SeededGaussianSumQuery(seed, clip_norm, stddev)


class _SeededGaussianSumQuery(tfp.GaussianSumQuery):
    """NOT PRIVATE: the noise is a function of the seed and of the exact sum.

    It needs no state of its own that way, so it fits wherever the real query
    does, and a resumed run draws what the uninterrupted one would have drawn.
    """

    def __init__(self, seed: int, l2_norm_clip, stddev):
        super().__init__(l2_norm_clip, stddev)
        self._seed = seed

    def get_noised_result(self, sample_state, global_state):
        _, new_state, event = super().get_noised_result(
            sample_state, global_state
        )
        leaves = tf.nest.flatten(sample_state)
        content = tf.add_n(
            [tf.reduce_sum(tf.bitcast(leaf, tf.int32)) for leaf in leaves]
        )
        noised = []
        for index, leaf in enumerate(leaves):
            seed = tf.random.experimental.stateless_fold_in(
                tf.stack([self._seed, content]), index
            )
            noise = tf.random.stateless_normal(tf.shape(leaf), seed)
            noised.append(leaf + noise * global_state.stddev)
        return tf.nest.pack_sequence_as(sample_state, noised), new_state, event


class _PerLayerSumQuery(tfp.GaussianSumQuery):
    """Clips each of n tensors to l2_norm_clip / sqrt(n)."""

    def preprocess_record_impl(self, params, record):
        leaves = tf.nest.flatten(record)
        clip = params / len(leaves) ** 0.5
        clipped = [tf.clip_by_norm(leaf, clip) for leaf in leaves]
        norm = tf.linalg.global_norm(leaves)
        return tf.nest.pack_sequence_as(record, clipped), norm


class _SeededPerLayerSumQuery(_PerLayerSumQuery, _SeededGaussianSumQuery):
    """NOT PRIVATE: clipping by layer with seeded noise."""


class _SeededAdaptiveClipSumQuery(tfp.QuantileAdaptiveClipSumQuery):
    """NOT PRIVATE: adaptive clipping with seeded noise on sum and count."""

    def __init__(self, seed: int, **parameters):
        super().__init__(**parameters)
        # tensorflow_privacy builds its inner queries itself and offers no way
        # to pass others in.
        self._sum_query = _SeededGaussianSumQuery(
            seed,
            parameters["initial_l2_norm_clip"],
            parameters["initial_l2_norm_clip"] * parameters["noise_multiplier"],
        )
        self._quantile_estimator_query._below_estimate_query = (
            tfp.NormalizedQuery(
                _SeededGaussianSumQuery(
                    seed + 1, 0.5, parameters["clipped_count_stddev"]
                ),
                denominator=parameters["expected_num_records"],
            )
        )
