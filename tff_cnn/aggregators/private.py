"""DP-FedAvg aggregation: TFF's factory over tensorflow_privacy's queries.

What adds a mechanism's noise is a function of (mechanism, noise seed) that its
entry in `privacy.MECHANISMS` names, and returns an unweighted factory. One that
also takes `total`, the factory of a sum, goes with aggregators that sum in
their own way.
"""

import functools

import tensorflow_federated as tff
import tensorflow_privacy as tfp

from tff_cnn.aggregators import correlated as queries
from tff_cnn.aggregators import gaussian
from tff_cnn.aggregators.distributed import DistributedMeanFactory
from tff_cnn.aggregators.measured_sum import MeasuredSumFactory
from tff_cnn.aggregators.noise import NoiseSeed, check_seed
from tff_cnn.core import registry
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import MECHANISMS, correlated, distributed
from tff_cnn.privacy import mechanism as mechanisms

_Factory = tff.aggregators.UnweightedAggregationFactory


def build(
    mechanism: mechanisms.CentralMechanism,
    noise_seed: NoiseSeed,
    *,
    deterministic: bool = False,
    total: _Factory | None = None,
) -> _Factory:
    """The aggregation that `mechanism` describes.

    Args:
      mechanism: What the accountant counts.
      noise_seed: Two int64 that decide the noise and nothing else in the
        program: secret, and of `secrets`. What clients draw depends on more.
      deterministic: NOT PRIVATE where set: says that the seed is no secret,
        and that the noise is to be a function of it and of the round, so that
        two runs can be compared bit by bit.
      total: What sums what clients send; None is the plain sum. Distributed
        mechanisms have a secure sum of their own.

    Raises:
      TypeError: No aggregation is known for this mechanism.
      UsageError: Its noise cannot be deterministic.
      ValueError: The seed is none.
    """
    noise_seed = check_seed(noise_seed)
    # Of exactly this class: subclasses might count differently.
    entry = MECHANISMS.built_by(type(mechanism))
    if entry is None:
        raise TypeError(f"no aggregator for {type(mechanism).__name__}.")
    if deterministic and not mechanism.is_repeatable:
        raise UsageError(
            f"<test_only_deterministic_noise> does not go with <dp>="
            f"{entry.name}, whose noise clients draw: use another <dp>."
        )
    add_noise = registry.load(entry.facts["aggregation"])
    if total is None:
        return add_noise(mechanism, noise_seed)
    if not registry.asked_for(add_noise, {"total": total}):
        raise UsageError(
            f"<dp>={entry.full_name} sums what clients send by itself, and "
            "nothing else can: use <aggregator>=mean, or give what adds its "
            "noise a parameter `total`."
        )
    return add_noise(mechanism, noise_seed, total=total)


def fixed_clip(
    mechanism: mechanisms.FixedClipGaussian,
    noise_seed: NoiseSeed,
    total: _Factory | None = None,
) -> _Factory:
    """Clips an update as a whole; fresh Gaussian noise."""
    stddev = mechanism.clip_norm * mechanism.noise_multiplier
    query = gaussian.GaussianSumQuery(mechanism.clip_norm, stddev, noise_seed)
    return _fresh_noise(mechanism, query, total)


def per_layer_clip(
    mechanism: mechanisms.PerLayerClipGaussian,
    noise_seed: NoiseSeed,
    total: _Factory | None = None,
) -> _Factory:
    """Clips each variable by itself; fresh Gaussian noise."""
    stddev = mechanism.clip_norm * mechanism.noise_multiplier
    query = gaussian.PerLayerSumQuery(mechanism.clip_norm, stddev, noise_seed)
    return _fresh_noise(mechanism, query, total, per_layer=True)


def adaptive_clip(
    mechanism: mechanisms.AdaptiveClipGaussian,
    noise_seed: NoiseSeed,
    total: _Factory | None = None,
) -> _Factory:
    """A clip that follows a quantile of the updates' norms."""
    query = gaussian.AdaptiveClipSumQuery(
        noise_seed,
        initial_l2_norm_clip=mechanism.clip_norm,
        noise_multiplier=mechanism.sum_noise_multiplier,
        target_unclipped_quantile=mechanism.target_quantile,
        learning_rate=mechanism.clip_learning_rate,
        clipped_count_stddev=mechanism.count_stddev,
        expected_num_records=mechanism.expected_cohort,
        geometric_update=True,
    )
    return _fresh_noise(mechanism, query, total)


def _fresh_noise(mechanism, query, total, per_layer=False) -> _Factory:
    return tff.aggregators.DifferentiallyPrivateFactory(
        tfp.NormalizedQuery(query, denominator=mechanism.expected_cohort),
        MeasuredSumFactory(mechanism.clip_norm, per_layer, total),
    )


def tree(
    mechanism: correlated.TreeAggregation,
    noise_seed: NoiseSeed,
    total: _Factory | None = None,
) -> _Factory:
    """Noise of a binary tree over rounds."""
    return _correlated_noise(queries.tree_query, mechanism, noise_seed, total)


def banded(
    mechanism: correlated.BandedMatrixFactorization,
    noise_seed: NoiseSeed,
    total: _Factory | None = None,
) -> _Factory:
    """Noise of a banded matrix factorization."""
    return _correlated_noise(queries.banded_query, mechanism, noise_seed, total)


def blt(
    mechanism: correlated.BltMatrixFactorization,
    noise_seed: NoiseSeed,
    total: _Factory | None = None,
) -> _Factory:
    """Noise of a buffered linear Toeplitz factorization."""
    return _correlated_noise(queries.blt_query, mechanism, noise_seed, total)


def release(
    mechanism: correlated.ReleaseNoise,
    noise_seed: NoiseSeed,
    total: _Factory | None = None,
) -> _Factory:
    """Noise on the released models."""
    return _correlated_noise(
        queries.release_query, mechanism, noise_seed, total
    )


def _correlated_noise(build_query, mechanism, noise_seed, total) -> _Factory:
    # The state has the shape of what is aggregated, so it is built later.
    return queries.QueryFactory(
        functools.partial(build_query, mechanism, noise_seed=noise_seed),
        mechanism.expected_cohort,
        MeasuredSumFactory(mechanism.clip_norm, total=total),
    )


def distributed_mean(
    mechanism: distributed.DistributedMechanism,
    noise_seed: NoiseSeed,
    total: _Factory | None = None,
) -> _Factory:
    """A secure sum with shares of noise from each client."""
    del total  # Its own, which any `total` would quantize again.
    return DistributedMeanFactory(mechanism, noise_seed)
