"""Mechanisms, the accountant that counts them, and calibration."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import (
    COUNT,
    Range,
    integers,
    option,
    positive,
)
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import (
    FIXED_COHORT,
    FULL_PRECISION,
    GUARDED_EXAMPLES,
    KNOWN_COHORTS,
    ONLY_A_SUM,
    SEPARATED_ROUNDS,
    SINGLE_UPDATES,
    STATELESS_CLIENTS,
    UNIFORM_WEIGHTS,
)

# So few canaries have a spread that means something (`privacy.auditing`).
MIN_CANARIES = 10
# Denormal numbers have no precise logarithm.
_DELTA = Range(1e-100, 1, "positive and below 1", is_open=True)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A place where noise can enter.

    Attributes:
      choice: The field of `RunConfig` that chooses the mechanism.
      prefix: Of its numbers in the rows of a run, where it is not "dp".
      label: Before the mechanism's name in the names of runs.
      registry: Of its mechanisms.
      key: The mechanism's in config.json.
      says: Path of a field of the mechanism -> path of the field of
        `RunConfig` that must say the same.
    """

    choice: str
    prefix: str
    label: str
    registry: Registry
    key: str
    says: Mapping[str, str]


# A mechanism's builder is a class whose objects describe it; it gets those of
# its options and of the run's numbers that it has fields for
# (`training.ledgers`). Facts: `aggregation`, what adds the noise (see
# `aggregators.private`); `sampling`, the sampler that fits it best.
MECHANISMS = Registry("differential privacy mechanism")
# Builders as those of MECHANISMS. Fact: `randomizer`, what draws the noise (see
# `aggregators.randomizers`).
LOCAL_RANDOMIZERS = Registry("randomizer of a client's update")
# Builders as those of MECHANISMS. Fact: `gradients`, what computes them (see
# `algorithms.dp_sgd`).
EXAMPLE_MECHANISMS = Registry("example-level mechanism")

STAGES = (
    Stage(
        "dp",
        "dp",
        "",
        MECHANISMS,
        "mechanism",
        {
            "clip_norm": "dp.clip_norm",
            "noise_multiplier": "dp.noise_multiplier",
            "participation.sampling": "sampling",
            "participation.min_separation": "sampling.min_separation",
        },
    ),
    Stage(
        "local_randomizer",
        "local_update",
        "local_",
        LOCAL_RANDOMIZERS,
        "local_update_mechanism",
        {
            "clip_norm": "local_randomizer.clip_norm",
            "noise_multiplier": "local_randomizer.noise_multiplier",
            "participation.sampling": "sampling",
        },
    ),
    Stage(
        "example_dp",
        "local",
        "",
        EXAMPLE_MECHANISMS,
        "local_mechanism",
        {
            "clip_norm": "example_dp.clip_norm",
            "noise_multiplier": "example_dp.noise_multiplier",
            "expected_lot": "batch_size",
            "epochs": "client_epochs",
            "participation.sampling": "sampling",
        },
    ),
)


def _positive(lowest: float, highest: float, choice: str) -> Range:
    found = positive(lowest, highest)
    hint = f" (for a run without noise use <{choice}>=none)"
    return dataclasses.replace(found, expected=found.expected + hint)


def _clip(choice: str, default: float, help: str, **known):
    return option(default, help, range=_positive(1e-9, 1e9, choice), **known)


def _noise(choice: str, help: str, **known):
    # Below, accounting takes for ever to find an epsilon that means nothing.
    allowed = _positive(1e-2, 1e6, choice)
    return option(None, help, range=allowed, is_found=True, **known)


def _epsilon(choice: str, help: str, **known):
    return option(None, help, range=_positive(1e-6, 1e6, choice), **known)


def _delta(help: str, **known):
    return option(None, help, range=_DELTA, is_found=True, **known)


def _check_noise(options: Any, choice: str) -> None:
    """Refuses noise that nothing says the strength of."""
    if options.noise_multiplier is None and options.epsilon is None:
        raise UsageError(
            f"neither of <{choice}.noise_multiplier> and <{choice}.epsilon> "
            "was given: give one, and the other follows from it; or both, and "
            "the run stops before it crosses epsilon."
        )


def _check_delta(options: Any, choice: str, num_clients: int) -> None:
    if options.delta is not None and options.delta >= 1 / num_clients:
        raise UsageError(
            f"<{choice}.delta>={options.delta:g} must be below 1/num_clients = "
            f"{1 / num_clients:.3g}."
        )


@dataclasses.dataclass(frozen=True)
class _Central:
    """Options of all mechanisms at aggregation."""

    clip_norm: float = _clip(
        "dp",
        0.3,
        "L2 bound of a client's update, > 0 (adaptive_clip: the first one).",
    )
    noise_multiplier: float | None = _noise(
        "dp",
        "Noise standard deviation over the clip norm, > 0; or give "
        "<dp.epsilon>.",
    )
    epsilon: float | None = _epsilon(
        "dp",
        "Epsilon to be spent by the last round; finds the noise multiplier, "
        "or, where that is given too, stops the run before a round crosses it.",
    )
    delta: float | None = _delta(
        "Delta, below 1/num_clients (default: num_clients^-1.1)."
    )
    metrics: bool = option(
        False,
        "Also release, in each round, the cohort's accuracy with noise of 5 "
        "points; epsilon includes it.",
    )

    def check(self, config: Any) -> None:
        """Refuses noise and delta that say nothing."""
        _check_noise(self, "dp")
        _check_delta(self, "dp", config.num_clients)


_CANARIES_GO_THROUGH = (
    "canaries measure noise at the server, and would go through that of the "
    "clients"
)


@dataclasses.dataclass(frozen=True)
class _Audited(_Central):
    """Options of mechanisms at aggregation that an audit can measure."""

    audit_canaries: int = option(
        0,
        "Clients that send random directions, added to measure epsilon in one "
        "run (Andrew et al. 2023); the model is then not to be published. "
        "Each costs two random vectors of the model's size a round.",
        flag="audit_canaries",
        range=integers(MIN_CANARIES, 10**6, also=0),
        refuses={
            "local_randomizer": _CANARIES_GO_THROUGH,
            "example_dp": _CANARIES_GO_THROUGH,
        },
    )


_UNKNOWN_COHORTS = "the accountant has no rule for how its cohorts are drawn"
_CENTRAL_NEEDS = {
    UNIFORM_WEIGHTS: "one client's weight would be unbounded",
    ONLY_A_SUM: "what one client moves is known of a sum of clipped updates",
    STATELESS_CLIENTS: "what a client keeps of a round is in its next update, "
    "for which nothing accounts",
    KNOWN_COHORTS: _UNKNOWN_COHORTS,
}
_CORRELATED_NEEDS = {
    **_CENTRAL_NEEDS,
    SEPARATED_ROUNDS: "its noise is correlated over rounds, so the accounting "
    "needs to know how far apart a client's rounds are, and random cohorts "
    "leave that open",
}
_DISTRIBUTED_NEEDS = {
    **_CENTRAL_NEEDS,
    FIXED_COHORT: "each client adds a share of the noise, and a smaller cohort "
    "than expected would have too little of it",
}


# Noise that is fresh in every round, and noise that is correlated over rounds.
_fresh = functools.partial(
    MECHANISMS.entry,
    sampling="poisson",
    needs=_CENTRAL_NEEDS,
    offers=[SINGLE_UPDATES],
)
_correlated = functools.partial(
    MECHANISMS.entry,
    sampling="shuffled_epochs",
    needs=_CORRELATED_NEEDS,
    offers=[SINGLE_UPDATES],
)


@_fresh(
    "fixed_clip",
    "tff_cnn.privacy.mechanism:FixedClipGaussian",
    aggregation="tff_cnn.aggregators.private:fixed_clip",
)
@dataclasses.dataclass(frozen=True)
class FixedClip(_Audited):
    """DP-FedAvg: a fixed clip and Gaussian noise (McMahan et al. 2018)."""


@_fresh(
    "per_layer_clip",
    "tff_cnn.privacy.mechanism:PerLayerClipGaussian",
    aggregation="tff_cnn.aggregators.private:per_layer_clip",
)
@dataclasses.dataclass(frozen=True)
class PerLayerClip(_Central):  # It turns canaries' directions.
    """A clip for each variable (McMahan et al. 2018, section 3)."""


@_fresh(
    "adaptive_clip",
    "tff_cnn.privacy.mechanism:AdaptiveClipGaussian",
    aggregation="tff_cnn.aggregators.private:adaptive_clip",
)
@dataclasses.dataclass(frozen=True)
class AdaptiveClip(_Audited):
    """A clip that follows a quantile (Andrew et al. 2021)."""

    target_quantile: float = option(
        0.5,
        "Fraction of updates left unclipped.",
        range=Range(0, 1, "between 0 and 1", is_open=True),
    )
    # The clip changes by a factor of up to e^10 in a round.
    clip_learning_rate: float = option(
        0.2, "Geometric step of the clip norm.", range=positive(1e-9, 10)
    )


@_correlated(
    "tree",
    "tff_cnn.privacy.correlated:TreeAggregation",
    aggregation="tff_cnn.aggregators.private:tree",
)
@dataclasses.dataclass(frozen=True)
class Tree(_Audited):
    """DP-FTRL: noise of a binary tree (Kairouz et al. 2021)."""

    single_tree: bool = option(
        False,
        "One noise tree for all rounds instead of a new one with each epoch.",
    )


@_correlated(
    "banded",
    "tff_cnn.privacy.correlated:BandedMatrixFactorization",
    aggregation="tff_cnn.aggregators.private:banded",
    depends_on_rounds=True,
)
@dataclasses.dataclass(frozen=True)
class Banded(_Audited):
    """A banded matrix factorization (Choquette-Choo et al. 2023)."""

    bands: int | None = option(
        None,
        "Rounds over which noise is correlated; the server keeps so many "
        "copies of the model (default: as many rounds as lie between two "
        "participations of a client).",
        range=COUNT,
    )


@_correlated(
    "blt",
    "tff_cnn.privacy.correlated:BltMatrixFactorization",
    aggregation="tff_cnn.aggregators.private:blt",
    depends_on_rounds=True,
)
@dataclasses.dataclass(frozen=True)
class Blt(_Audited):
    """A buffered linear Toeplitz factorization (McMahan et al. 2024)."""

    buffers: int = option(
        3,
        "Copies of the model that the server keeps for its noise.",
        range=integers(1, 10),
    )


@_correlated(
    "release",
    "tff_cnn.privacy.correlated:ReleaseNoise",
    aggregation="tff_cnn.aggregators.private:release",
)
@dataclasses.dataclass(frozen=True)
class Release(_Audited):
    """Fresh noise on every released model."""


_DISTRIBUTED_REFUSES = {
    "test_only_deterministic_noise": "clients draw its noise themselves",
    "dp.metrics": "no bound is known for the two together",
    "dp.audit_canaries": "its cohort has a fixed size",
}


@dataclasses.dataclass(frozen=True)
class _Distributed(_Audited):
    """Options of mechanisms whose noise clients share out."""

    bits: int = option(
        20,
        "Bits of a coordinate of the secure sum, 1 to 22.",
        range=integers(1, 22),
    )


_distributed = functools.partial(
    MECHANISMS.entry,
    aggregation="tff_cnn.aggregators.private:distributed_mean",
    sampling="fixed_size",
    needs=_DISTRIBUTED_NEEDS,
    refuses=_DISTRIBUTED_REFUSES,
)


@_distributed(
    "distributed_discrete_gaussian",
    "tff_cnn.privacy.distributed:DistributedDiscreteGaussian",
)
@dataclasses.dataclass(frozen=True)
class DistributedDiscreteGaussian(_Distributed):
    """Discrete Gaussian shares in a secure sum (Kairouz et al. 2021)."""


@_distributed(
    "distributed_skellam",
    "tff_cnn.privacy.distributed:DistributedSkellam",
)
@dataclasses.dataclass(frozen=True)
class DistributedSkellam(_Distributed):
    """Skellam shares in a secure sum (Agarwal et al. 2021)."""


@dataclasses.dataclass(frozen=True)
class _LocalRandomizer:
    """Options of all randomizers."""

    clip_norm: float = _clip(
        "local_randomizer",
        0.3,
        "Bound of a client's update, > 0: of its L2 norm with gaussian, of its "
        "L1 norm with laplace.",
        formerly="clip",
    )
    noise_multiplier: float | None = _noise(
        "local_randomizer",
        "Scale of the noise over that bound, > 0 (gaussian: standard "
        "deviation); or give <local_randomizer.epsilon>.",
    )
    epsilon: float | None = _epsilon(
        "local_randomizer",
        "Epsilon of a client against the server over all rounds; finds the "
        "noise, and the run stops before it is crossed.",
    )
    delta: float | None = _delta(
        "Delta of the local randomizer, below 1/num_clients (default: "
        "num_clients^-1.1)."
    )

    def check(self, config: Any) -> None:
        """Refuses noise and delta that say nothing."""
        _check_noise(self, "local_randomizer")
        _check_delta(self, "local_randomizer", config.num_clients)


_RANDOMIZER_NEEDS = {
    UNIFORM_WEIGHTS: "a client's weight would tell the server how much data it "
    "has",
    SINGLE_UPDATES: "the server sees no single update, and the noise of "
    "clients is counted once",
    STATELESS_CLIENTS: _CENTRAL_NEEDS[STATELESS_CLIENTS],
    KNOWN_COHORTS: _UNKNOWN_COHORTS,
}


@LOCAL_RANDOMIZERS.entry(
    "gaussian",
    "tff_cnn.privacy.randomizers:LocalGaussian",
    randomizer="tff_cnn.aggregators.randomizers:GAUSSIAN",
    needs=_RANDOMIZER_NEEDS,
)
@dataclasses.dataclass(frozen=True)
class LocalGaussian(_LocalRandomizer):
    """Clients add Gaussian noise to their clipped updates."""


@LOCAL_RANDOMIZERS.entry(
    "laplace",
    "tff_cnn.privacy.randomizers:LocalLaplace",
    randomizer="tff_cnn.aggregators.randomizers:LAPLACE",
    needs=_RANDOMIZER_NEEDS,
)
@dataclasses.dataclass(frozen=True)
class LocalLaplace(_LocalRandomizer):
    """Clients add Laplace noise to their clipped updates."""


@EXAMPLE_MECHANISMS.entry(
    "dp_sgd",
    "tff_cnn.privacy.local:ExampleDpSgd",
    gradients="tff_cnn.algorithms.dp_sgd:build_gradients",
    needs={
        UNIFORM_WEIGHTS: "the weight would release how many examples were "
        "drawn",
        FULL_PRECISION: "norms of another precision bound nothing",
        GUARDED_EXAMPLES: "what is computed of an example beside its clipped "
        "gradient has no noise",
        STATELESS_CLIENTS: _CENTRAL_NEEDS[STATELESS_CLIENTS],
        KNOWN_COHORTS: _UNKNOWN_COHORTS,
    },
)
@dataclasses.dataclass(frozen=True)
class DpSgd:
    """Noised gradients of clipped examples in every client (Abadi 2016)."""

    clip_norm: float = _clip(
        "example_dp",
        1.0,
        "L2 bound of an example's gradient, > 0.",
        formerly="clip",
    )
    noise_multiplier: float | None = _noise(
        "example_dp",
        "Noise standard deviation over <example_dp.clip_norm>, > 0; or give "
        "<example_dp.epsilon>.",
        formerly="noise_multiplier",
    )
    epsilon: float | None = _epsilon(
        "example_dp",
        "Epsilon of an example by the last round; as <dp.epsilon>.",
        formerly="epsilon",
    )
    delta: float | None = _delta(
        "Delta, below one over the examples of the largest client (default: "
        "number of training examples^-1.1).",
        formerly="delta",
    )

    def check(self, config: Any) -> None:
        """Refuses noise of which nothing is said."""
        del config
        _check_noise(self, "example_dp")
