"""Federated algorithms: one file each, built from TFF's four slots."""

import dataclasses
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import COUNT, Range, integers, option, positive
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import GUARDED_EXAMPLES, STATELESS_CLIENTS

# An algorithm's builder gets a `local_training.Parts` and its options, and
# returns a TFF learning process or a `rule_process.RuleProcess`, as
# `fedavg.build_with` makes of a rule. Fact, where rounds are made of anything
# else: `engine`, "module:function" of what builds it (`training.engines`).
# Fact, where clients do not make all their local steps in each round:
# `local_steps`, "module:function" of (options, seed, round, client, all steps)
# -> how many it makes, as `fedprox.local_steps`.
# Fact, where an update is more than a change of the weights: `update_vectors`,
# how many times as many numbers it has: noise of some mechanisms depends on it.
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


@ALGORITHMS.entry(
    "fedsgd",
    "tff_cnn.algorithms.fedsgd:build_fedsgd",
    # Not GUARDED_EXAMPLES: batches count by how many examples they have.
    offers=[STATELESS_CLIENTS],
    paper="McMahan et al. 2017",
    down="w",
    up="eta g_k",
    keeps="nothing",
)
@dataclasses.dataclass(frozen=True)
class FedSgd:
    """One gradient of all examples a client and round (McMahan et al. 2017)."""

    def check(self, config: Any) -> None:
        """Refuses passes that would compute the same gradient again."""
        if config.client_epochs != 1:
            raise UsageError(
                f"<client_epochs>={config.client_epochs} does not go with "
                "<algorithm>=fedsgd, which computes one gradient a round: use "
                "<client_epochs>=1."
            )


@ALGORITHMS.entry(
    "mime_lite",
    "tff_cnn.algorithms.mime_lite:build_mime_lite",
    # Not GUARDED_EXAMPLES: a step takes a second gradient of its lot, which
    # nothing accounts for.
    offers=[STATELESS_CLIENTS],
    update_vectors=2,
    paper="Karimireddy et al. 2021",
    down="w, s",
    up="w - w_k, g_k",
    keeps="nothing",
)
@dataclasses.dataclass(frozen=True)
class MimeLite:
    """Clients mimic one optimizer of the server's (Karimireddy et al. 2021)."""


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
