"""Federated algorithms: one file each, built from TFF's four slots."""

import dataclasses
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import Range, option, positive
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import (
    GUARDED_EXAMPLES,
    ONLY_A_SUM,
    STATELESS_CLIENTS,
    UNIFORM_WEIGHTS,
)

# An algorithm's builder gets a `local_training.Parts` and its options, and
# returns a TFF learning process or a `rule_process.RuleProcess`, as
# `fedavg.build_with` makes of a rule. Fact, where rounds are made of anything
# else: `engine`, "module:function" of what builds it (`training.engines`).
ALGORITHMS = Registry("algorithm")


@ALGORITHMS.entry(
    "fedavg",
    "tff_cnn.algorithms.fedavg:build_fedavg",
    offers=[GUARDED_EXAMPLES, STATELESS_CLIENTS],
)
@dataclasses.dataclass(frozen=True)
class FedAvg:
    """Federated averaging (McMahan et al. 2017)."""


# Of clients and of the server. An optimizer's builder gets its options and
# returns a `tff.learning.optimizers.Optimizer`: a pure function, so that its
# state is part of what a process returns and a checkpoint keeps.
OPTIMIZERS = Registry("optimizer")


@dataclasses.dataclass(frozen=True)
class _Optimizer:
    learning_rate: float | None = option(
        None, "Learning rate of {role}, > 0.", range=positive()
    )


@OPTIMIZERS.entry("sgd", "tff_cnn.algorithms.optimizers:build_sgd")
@dataclasses.dataclass(frozen=True)
class Sgd(_Optimizer):
    """Gradient descent, with momentum if asked."""

    momentum: float = option(
        0.0,
        "Momentum of {role} in [0, 1).",
        range=Range(0, 1 - 1e-9, "in [0, 1)"),
    )


@OPTIMIZERS.entry("adam", "tensorflow_federated:learning.optimizers.build_adam")
@dataclasses.dataclass(frozen=True)
class Adam(_Optimizer):
    """Adam (Kingma & Ba 2015)."""


# What the server keeps is a mean over all clients of what they keep.
_OF_MEANS = {
    UNIFORM_WEIGHTS: "its mean is over clients, each of which counts the same",
    ONLY_A_SUM: "what its server keeps is a mean of what clients keep",
}


@ALGORITHMS.entry(
    "scaffold",
    "tff_cnn.algorithms.scaffold:build_scaffold",
    needs=_OF_MEANS,
)
@dataclasses.dataclass(frozen=True)
class Scaffold:
    """Control variates against client drift (Karimireddy et al. 2020)."""

    scaffold_option: str = option(
        "II",
        "How clients' control variates are found: I, the gradient at the "
        "weights that were sent, which doubles local passes; II, the mean of "
        "the gradients gone along, which costs none.",
        choices={"I": (), "II": ()},
    )

    def check(self, config: Any) -> None:
        """Refuses option II where steps are not linear in gradients."""
        if self.scaffold_option == "I":
            return
        if isinstance(config.client_optimizer, Sgd):
            return
        name = OPTIMIZERS.entry_of(config.client_optimizer).name
        raise UsageError(
            f"<client_optimizer>={name} does not fit "
            "<algorithm.scaffold_option>=II: it finds gradients again from how "
            "far steps went, and steps must be linear in them; use "
            "<client_optimizer>=sgd or <algorithm.scaffold_option>=I."
        )


@ALGORITHMS.entry(
    "feddyn",
    "tff_cnn.algorithms.feddyn:build_feddyn",
    needs=_OF_MEANS,
    offers=[GUARDED_EXAMPLES],
)
@dataclasses.dataclass(frozen=True)
class FedDyn:
    """Dynamic regularization of clients' losses (Acar et al. 2021)."""

    feddyn_alpha: float = option(
        0.1, "Strength of the regularizer, > 0.", range=positive()
    )


@ALGORITHMS.entry(
    "fedadmm",
    "tff_cnn.algorithms.fedadmm:build_fedadmm",
    needs=_OF_MEANS,
    offers=[GUARDED_EXAMPLES],
)
@dataclasses.dataclass(frozen=True)
class FedAdmm:
    """Inexact consensus ADMM with dual variables (Gong et al. 2022)."""

    admm_rho: float = option(
        0.01,
        "Penalty on a client's distance from the server's model, > 0.",
        range=positive(),
    )
    admm_start: str = option(
        "global",
        "What clients begin local training with: global, the server's model; "
        "or own, the model of their last round, which wants a larger "
        "<admm_rho>: 1 / (local steps x learning rate), or more.",
        choices={"global": (), "own": ()},
    )
