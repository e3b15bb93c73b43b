"""Federated algorithms: one file each, built from TFF's four slots."""

import dataclasses
from typing import Any

from tff_cnn.core.options import (
    COUNT,
    Condition,
    Range,
    integers,
    option,
    positive,
)
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import (
    GUARDED_EXAMPLES,
    ONLY_A_SUM,
    STATELESS_CLIENTS,
    UNIFORM_WEIGHTS,
)
from tff_cnn.models import HEAD, check_pattern

# An algorithm's builder gets a `local_training.Parts` and its options, and
# returns a TFF learning process or a `rule_process.RuleProcess`, as
# `fedavg.build_with` makes of a rule. Fact, where rounds are made of anything
# else: `engine`, "module:function" of what builds it (`training.engines`); and
# `note`, how its model is to be read, which the summary of a run says.
# Fact, where clients do not make all their local steps in each round:
# `local_steps`, "module:function" of (options, seed, round, client, all steps)
# -> how many it makes, as `fedprox.local_steps`.
# Facts for the table of algorithms: `paper`; what travels `down` and `up`, and
# what a client `keeps`, in the paper's symbols.
ALGORITHMS = Registry("algorithm")
_UNIT = Range(0, 1, "in [0, 1]")
_ATTACK_STEPS = integers(1, 10_000)


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
    nesterov: bool = option(
        False,
        "Nesterov's momentum in the place of the heavy ball's: the step looks "
        "one further ahead.",
    )

    def check(self, config: Any) -> None:
        """Refuses a kind of momentum where there is none."""
        if self.nesterov and not self.momentum:
            raise UsageError(
                f"<{_role_of(self, config)}.nesterov> would be ignored: it "
                "needs momentum > 0; remove it or give a momentum."
            )


# The adaptive ones leave open what TFF has a value for; Reddi et al. 2021,
# whose server optimizers they are, have others: `optimizers` has a table.
_BETA = Range(0, 1, "in (0, 1)", is_open=True)


@dataclasses.dataclass(frozen=True)
class _Adaptive(_Optimizer):
    beta1: float | None = option(
        None,
        "Decay of the mean gradient of {role}, in (0, 1) (default: 0.9).",
        range=_BETA,
    )
    beta2: float | None = option(
        None,
        "Decay of the mean squared gradient of {role}, in (0, 1) (default: "
        "0.999; Reddi et al. 2021 have 0.99).",
        range=_BETA,
    )
    epsilon: float | None = option(
        None,
        "What is added to the root of squared gradients of {role}, > 0: the "
        "more, the less adaptive (default: 1e-7, yogi's 1e-3; Reddi et al. "
        "2021 have 1e-3). No privacy budget.",
        range=positive(),
    )


@OPTIMIZERS.entry("adam", "tff_cnn.algorithms.optimizers:build_adam")
@dataclasses.dataclass(frozen=True)
class Adam(_Adaptive):
    """Adam (Kingma & Ba 2015)."""


_UNIFORM = "its server's values are means in which each client counts the same"
_SUM = "its server's values are means over clients, which another aggregate "
_SUM += "would not keep"


@ALGORITHMS.entry(
    "scaffold",
    "tff_cnn.algorithms.scaffold:build_scaffold",
    needs={UNIFORM_WEIGHTS: _UNIFORM, ONLY_A_SUM: _SUM},
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
    needs={UNIFORM_WEIGHTS: _UNIFORM, ONLY_A_SUM: _SUM},
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
    needs={UNIFORM_WEIGHTS: _UNIFORM, ONLY_A_SUM: _SUM},
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
        "or own, the model of their last round.",
        choices={"global": (), "own": ()},
    )


@OPTIMIZERS.entry("adagrad", "tff_cnn.algorithms.optimizers:build_adagrad")
@dataclasses.dataclass(frozen=True)
class Adagrad(_Optimizer):
    """Adagrad (Duchi et al. 2011)."""

    epsilon: float | None = option(
        None,
        "What is added to the sum of squared gradients of {role}, > 0 "
        "(default: 1e-7). No privacy budget.",
        range=positive(),
    )
    initial_accumulator: float | None = option(
        None,
        "What sums of squared gradients of {role} begin with, > 0 (default: "
        "0.1, yogi's 1e-6).",
        range=positive(),
    )


@OPTIMIZERS.entry("yogi", "tff_cnn.algorithms.optimizers:build_yogi")
@dataclasses.dataclass(frozen=True)
class Yogi(_Adaptive):
    """Yogi: Adam whose squares move by sums alone (Zaheer et al. 2018)."""

    initial_accumulator: float | None = option(
        None,
        "What mean squared gradients of {role} begin with, > 0 (default: "
        "1e-6).",
        range=positive(),
    )


# Of clients and of the server. A schedule is built by a function of (round,
# rounds) and its options, and returns a factor of the learning rate. Fact
# `depends_on_rounds`: whether it does.
SCHEDULES = Registry("schedule")


@dataclasses.dataclass(frozen=True)
class _Schedule:
    warmup_rounds: int = option(
        0,
        "Rounds, the first ones, in which the learning rate of {role} rises to "
        "its full value.",
        range=integers(0, 10**6),
    )


@SCHEDULES.entry("constant", "tff_cnn.algorithms.schedules:constant")
@dataclasses.dataclass(frozen=True)
class Constant(_Schedule):
    """The same learning rate in every round."""


@dataclasses.dataclass(frozen=True)
class _Finite(_Schedule):
    final_factor: float = option(
        0.0,
        "Part of the learning rate of {role}, in [0, 1], that its schedule "
        "comes down to when the run has ended.",
        range=Range(0, 1, "in [0, 1]"),
    )


@SCHEDULES.entry(
    "linear", "tff_cnn.algorithms.schedules:linear", depends_on_rounds=True
)
@dataclasses.dataclass(frozen=True)
class Linear(_Finite):
    """A learning rate that falls in equal steps until the run ends."""


@SCHEDULES.entry(
    "cosine", "tff_cnn.algorithms.schedules:cosine", depends_on_rounds=True
)
@dataclasses.dataclass(frozen=True)
class Cosine(_Finite):
    """Half a cosine until the run ends (Loshchilov & Hutter 2017)."""


_DECAY = Range(0, 1, "in (0, 1)", is_open=True)


@SCHEDULES.entry("exponential", "tff_cnn.algorithms.schedules:exponential")
@dataclasses.dataclass(frozen=True)
class Exponential(_Schedule):
    """A learning rate that is multiplied by the same factor again and again."""

    decay_factor: float = option(
        0.99,
        "What the learning rate of {role} is multiplied with, in (0, 1), every "
        "so many rounds.",
        range=_DECAY,
    )
    decay_rounds: int = option(
        1,
        "Rounds in which the learning rate of {role} decays by its factor.",
        range=COUNT,
    )


@SCHEDULES.entry("inverse_sqrt", "tff_cnn.algorithms.schedules:inverse_sqrt")
@dataclasses.dataclass(frozen=True)
class InverseSqrt(_Schedule):
    """One over the root of the number of rounds (Vaswani et al. 2017)."""

    decay_rounds: int = option(
        1,
        "Rounds after which the learning rate of {role} is 0.71 of its full "
        "value; after three times as many it is half.",
        range=COUNT,
    )


@SCHEDULES.entry("step", "tff_cnn.algorithms.schedules:step")
@dataclasses.dataclass(frozen=True)
class StepDecay(_Schedule):
    """Exponential decay, in steps of several rounds."""

    decay_factor: float = option(
        0.1,
        "What the learning rate of {role} is multiplied with, in (0, 1), at "
        "each step.",
        range=_DECAY,
    )
    decay_rounds: int = option(
        100, "Rounds of a step of the rate of {role}.", range=COUNT
    )


def _role_of(optimizer: Any, config: Any) -> str:
    """The field of a configuration that has chosen these options."""
    roles = ("client_optimizer", "server_optimizer")
    return next(role for role in roles if getattr(config, role) is optimizer)
