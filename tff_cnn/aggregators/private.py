"""DP-FedAvg aggregation: TFF's factory over tensorflow_privacy's queries."""

import functools

import tensorflow_federated as tff
import tensorflow_privacy as tfp

from tff_cnn.aggregators import correlated as correlated_queries
from tff_cnn.aggregators import gaussian
from tff_cnn.aggregators.diagnostics import DiagnosticSumFactory
from tff_cnn.aggregators.distributed import DistributedMeanFactory
from tff_cnn.aggregators.noise import NoiseSeed, check_seed
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import correlated, distributed
from tff_cnn.privacy import mechanism as mechanisms


def build(
    mechanism: mechanisms.CentralMechanism,
    noise_seed: NoiseSeed,
    *,
    deterministic: bool = False,
) -> tff.aggregators.UnweightedAggregationFactory:
    """The aggregation that `mechanism` describes.

    Args:
      mechanism: What the accountant counts.
      noise_seed: Two int64 that decide the noise and nothing else in the
        program: secret, and of `secrets`. What clients draw depends on more.
      deterministic: NOT PRIVATE where set: says that the seed is no secret,
        and that the noise is to be a function of it and of the round, so that
        two runs can be compared bit by bit.

    Raises:
      TypeError: No aggregation is known for this mechanism.
      UsageError: Its noise cannot be deterministic.
      ValueError: The seed is none.
    """
    noise_seed = check_seed(noise_seed)
    if type(mechanism) in _DISTRIBUTED:
        if deterministic:
            raise UsageError(
                f"--test_only_deterministic_noise does not go with --dp="
                f"{mechanism.name}, whose noise clients draw: use another --dp."
            )
        return DistributedMeanFactory(mechanism, noise_seed)
    build_query = _CORRELATED_QUERIES.get(type(mechanism))
    if build_query is not None:
        return correlated_queries.QueryFactory(
            functools.partial(build_query, mechanism, noise_seed=noise_seed),
            mechanism.expected_cohort,
            DiagnosticSumFactory(mechanism.clip_norm),
        )
    build_query = _QUERIES.get(type(mechanism))
    if build_query is None:
        raise TypeError(f"no aggregator for {type(mechanism).__name__}.")
    query = build_query(mechanism, noise_seed)
    return tff.aggregators.DifferentiallyPrivateFactory(
        tfp.NormalizedQuery(query, denominator=mechanism.expected_cohort),
        DiagnosticSumFactory(
            mechanism.clip_norm,
            per_layer=isinstance(mechanism, mechanisms.PerLayerClipGaussian),
        ),
    )


def _fixed_clip(mechanism: mechanisms.FixedClipGaussian, noise_seed):
    stddev = mechanism.clip_norm * mechanism.noise_multiplier
    return gaussian.GaussianSumQuery(mechanism.clip_norm, stddev, noise_seed)


def _per_layer_clip(mechanism: mechanisms.PerLayerClipGaussian, noise_seed):
    stddev = mechanism.clip_norm * mechanism.noise_multiplier
    return gaussian.PerLayerSumQuery(mechanism.clip_norm, stddev, noise_seed)


def _adaptive_clip(mechanism: mechanisms.AdaptiveClipGaussian, noise_seed):
    return gaussian.AdaptiveClipSumQuery(
        noise_seed,
        initial_l2_norm_clip=mechanism.clip_norm,
        noise_multiplier=mechanism.sum_noise_multiplier,
        target_unclipped_quantile=mechanism.target_quantile,
        learning_rate=mechanism.clip_learning_rate,
        clipped_count_stddev=mechanism.count_stddev,
        expected_num_records=mechanism.expected_cohort,
        geometric_update=True,
    )


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
