"""Federated algorithms: one file each, built from TFF's four slots."""

import dataclasses

from tff_cnn.core.options import Range, option, positive
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import GUARDED_EXAMPLES, STATELESS_CLIENTS

# An algorithm's builder gets a `local_training.Parts` and its options, and
# returns a TFF learning process or a `rule_process.RuleProcess`, as
# `fedavg.build_with` makes of a rule. Fact, where rounds are made of anything
# else: `engine`, "module:function" of what builds it (`training.engines`).
# Fact, where clients do not make all their local steps in each round:
# `local_steps`, "module:function" of (options, seed, round, client, all steps)
# -> how many it makes, as `fedprox.local_steps`.
# Facts for the table of algorithms: `paper`; what travels `down` and `up`, and
# what a client `keeps`, in the paper's symbols.
ALGORITHMS = Registry("algorithm")


@ALGORITHMS.entry(
    "fedavg",
    "tff_cnn.algorithms.fedavg:build_fedavg",
    offers=[GUARDED_EXAMPLES, STATELESS_CLIENTS],
    paper="McMahan et al. 2017",
    down="w",
    up="w - w_k",
    keeps="nothing",
)
@dataclasses.dataclass(frozen=True)
class FedAvg:
    """Federated averaging (McMahan et al. 2017)."""


@ALGORITHMS.entry(
    "fedprox",
    "tff_cnn.algorithms.fedprox:build_fedprox",
    offers=[GUARDED_EXAMPLES, STATELESS_CLIENTS],
    local_steps="tff_cnn.algorithms.fedprox:local_steps",
    paper="Li et al. 2020",
    down="w",
    up="w - w_k",
    keeps="nothing",
)
@dataclasses.dataclass(frozen=True)
class FedProx:
    """FedAvg with a pull towards what was sent (Li et al. 2020)."""

    proximal_mu: float = option(
        0.01,
        "Strength of the pull towards the weights that were sent, >= 0; 0 is "
        "FedAvg.",
        range=Range(0, 1e30, "at least 0"),
    )
    straggler_fraction: float = option(
        0.0,
        "Part of a round's clients, in [0, 1], that make only so many of their "
        "local steps, drawn from one to all.",
        range=Range(0, 1, "in [0, 1]: 0.5 is half of them"),
    )


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
