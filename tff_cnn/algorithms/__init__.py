"""Federated algorithms: one file each, built from TFF's four slots."""

import dataclasses

from tff_cnn.core.options import Range, option, positive
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import GUARDED_EXAMPLES, STATELESS_CLIENTS

# An algorithm's builder gets a `local_training.Parts` and its options, and
# returns a TFF learning process or a `rule_process.RuleProcess`, as
# `fedavg.build_with` makes of a rule. Fact, where rounds are made of anything
# else: `engine`, "module:function" of what builds it (`training.engines`).
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
