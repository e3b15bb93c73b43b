"""Mechanisms, the accountant that counts them, and calibration."""

from tff_cnn.core.registry import Registry

MECHANISMS = Registry(
    "differential privacy mechanism (--dp)",
    {
        "fixed_clip": "tff_cnn.privacy.mechanism:FixedClipGaussian",
        "per_layer_clip": "tff_cnn.privacy.mechanism:PerLayerClipGaussian",
        "adaptive_clip": "tff_cnn.privacy.mechanism:AdaptiveClipGaussian",
        "tree": "tff_cnn.privacy.correlated:TreeAggregation",
        "banded": "tff_cnn.privacy.correlated:BandedMatrixFactorization",
        "blt": "tff_cnn.privacy.correlated:BltMatrixFactorization",
        "release": "tff_cnn.privacy.correlated:ReleaseNoise",
        "distributed_discrete_gaussian": (
            "tff_cnn.privacy.distributed:DistributedDiscreteGaussian"
        ),
        "distributed_skellam": "tff_cnn.privacy.distributed:DistributedSkellam",
    },
)

LOCAL_MECHANISMS = Registry(
    "local mechanism (--local_dp)",
    {"dp_sgd": "tff_cnn.privacy.local:ExampleDpSgd"},
)

LOCAL_RANDOMIZERS = Registry(
    "randomizer of a client's update (--local_randomizer)",
    {
        "gaussian": "tff_cnn.privacy.randomizers:LocalGaussian",
        "laplace": "tff_cnn.privacy.randomizers:LocalLaplace",
    },
)

# So few canaries have a spread that means something (`privacy.auditing`).
MIN_CANARIES = 10

# Their noise is correlated over rounds, which needs bounded participation.
CORRELATED = ("tree", "banded", "blt", "release")
# Of these, those that are optimized for a number of rounds.
FACTORIZATIONS = ("banded", "blt")
# Clients share the noise out among themselves, which needs a fixed cohort.
DISTRIBUTED = ("distributed_discrete_gaussian", "distributed_skellam")
