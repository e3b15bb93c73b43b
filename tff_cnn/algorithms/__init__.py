"""Federated algorithms: one file each, built from TFF's four slots."""

import dataclasses

from tff_cnn.core.options import (
    Condition,
    Range,
    integers,
    option,
    positive,
)
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import GUARDED_EXAMPLES, STATELESS_CLIENTS
from tff_cnn.models import HEAD, check_pattern

# An algorithm's builder gets a `local_training.Parts` and its options, and
# returns a TFF learning process or a `rule_process.RuleProcess`, as
# `fedavg.build_with` makes of a rule. Fact, where rounds are made of anything
# else: `engine`, "module:function" of what builds it (`training.engines`); and
# `note`, how its model is to be read, which the summary of a run says.
ALGORITHMS = Registry("algorithm")
_UNIT = Range(0, 1, "in [0, 1]")
_ATTACK_STEPS = integers(1, 10_000)


@ALGORITHMS.entry(
    "fedavg",
    "tff_cnn.algorithms.fedavg:build_fedavg",
    offers=[GUARDED_EXAMPLES, STATELESS_CLIENTS],
)
@dataclasses.dataclass(frozen=True)
class FedAvg:
    """Federated averaging (McMahan et al. 2017)."""


def _check_local_layers(which: str) -> None:
    check_pattern("algorithm.local_layers", which, HEAD)


@ALGORITHMS.entry(
    "fedper",
    "tff_cnn.algorithms.fedper:build_fedper",
    offers=[GUARDED_EXAMPLES],
    note="the exported model and test_accuracy are of the shared body with "
    "the initial head, which nobody has trained: each client has its own",
)
@dataclasses.dataclass(frozen=True)
class FedPer:
    """Shared body, a head of each client's own (Arivazhagan et al. 2019)."""

    local_layers: str = option(
        HEAD,
        "The layers that stay with the clients: head, the last one with "
        "trained weights; or those whose whole names a regular expression "
        "matches.",
        check=_check_local_layers,
        neutral=HEAD,
    )


@ALGORITHMS.entry(
    "ditto",
    "tff_cnn.algorithms.ditto:build_ditto",
    # Clients do keep something, but nothing of it is ever sent.
    offers=[GUARDED_EXAMPLES, STATELESS_CLIENTS],
)
@dataclasses.dataclass(frozen=True)
class Ditto:
    """FedAvg, and a model of each client's own beside it (Li et al. 2021)."""

    ditto_lambda: float = option(
        0.1,
        "How much personal models are drawn towards the global one, >= 0; 0 "
        "is purely local training.",
        range=Range(0, 1e30, "at least 0"),
    )


_IS_PGD = Condition(
    lambda config: config.algorithm.adversarial_method == "pgd",
    "<algorithm.adversarial_method>=pgd",
    "algorithm",
)


@ALGORITHMS.entry(
    "adversarial",
    "tff_cnn.algorithms.adversarial:build_adversarial",
    offers=[STATELESS_CLIENTS],
    refuses={
        "standardize": "an adversary's bound is in pixels scaled to [0, 1], "
        "and standardized images are on another scale"
    },
)
@dataclasses.dataclass(frozen=True)
class Adversarial:
    """FedAvg on adversarial examples (Zizzo et al. 2020)."""

    adversarial_method: str = option(
        "pgd",
        "How they are made: fgsm, one step of the gradient's sign; or pgd, "
        "several within the bound.",
        choices={"fgsm": (), "pgd": ()},
    )
    adversarial_epsilon: float = option(
        0.3,
        "Most that a pixel is changed by (L-infinity), of images scaled to "
        "[0, 1].",
        range=_UNIT,
    )
    adversarial_fraction: float = option(
        1.0,
        "Share of each batch that is made adversarial, in [0, 1]; 0 is FedAvg.",
        range=_UNIT,
    )
    adversarial_steps: int | None = option(
        None,
        "Gradients that pgd takes (default: 10).",
        range=_ATTACK_STEPS,
        applies=_IS_PGD,
    )
    adversarial_step_size: float | None = option(
        None,
        "What pgd moves a pixel by in a step (default: 2.5 "
        "<algorithm.adversarial_epsilon> over the steps).",
        range=positive(1e-6, 1),
        applies=_IS_PGD,
    )
    adversarial_random_start: bool = option(
        True, "Let pgd begin anywhere within the bound, not at the image."
    )
    robust_eval_steps: int = option(
        40,
        "Gradients that pgd takes, from a random start, where "
        "test_robust_accuracy is evaluated.",
        range=_ATTACK_STEPS,
    )
    robust_eval_epsilon: float | None = option(
        None,
        "The bound there (default: <algorithm.adversarial_epsilon>).",
        range=_UNIT,
    )
    robust_eval_every: int = option(
        0,
        "Rounds between two such evaluations; 0 is the last round only. Each "
        "takes as long as so many epochs on the test set.",
        range=integers(0),
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
