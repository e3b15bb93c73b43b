"""Federated algorithms: one file each, built from TFF's four slots."""

import dataclasses
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import COUNT, Range, option, positive
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import (
    GUARDED_EXAMPLES,
    STATELESS_CLIENTS,
    UNIFORM_DRAWS,
    UNIFORM_WEIGHTS,
)

# An algorithm's builder gets a `local_training.Parts` and its options, and
# returns a TFF learning process or a `rule_process.RuleProcess`, as
# `fedavg.build_with` makes of a rule. Fact, where rounds are made of anything
# else: `engine`, "module:function" of what builds it (`training.engines`); and
# where there is no round without a clock: `client_speed`, that of a run which
# names none.
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


_NO_PRIVACY = "nothing accounts for who takes part when clients come one by one"
_NO_WAITING = "the server waits for no round's clients, and leaves none out"


@ALGORITHMS.entry(
    "fedbuff",
    "tff_cnn.algorithms.fedbuff:build_fedbuff",
    needs={
        UNIFORM_WEIGHTS: "the sum of updates is divided by their number",
        UNIFORM_DRAWS: "who begins next is drawn from all that are idle, alike",
    },
    offers=[GUARDED_EXAMPLES],
    refuses={
        **dict.fromkeys(("dp", "local_randomizer", "example_dp"), _NO_PRIVACY),
        **dict.fromkeys(("deadline", "over_selection"), _NO_WAITING),
    },
    decides={"clients_per_round": "algorithm.buffer_size"},
    engine="tff_cnn.training.engines.buffered:build",
    client_speed="equal",
)
@dataclasses.dataclass(frozen=True)
class FedBuff:
    """Updates as they arrive, in a buffer (Nguyen et al. 2022).

    On a simulated clock; a round is a step of the server. Where no speed of
    clients is given they are equally fast.
    """

    buffer_size: int | None = option(
        None,
        "Updates that a step of the server waits for, K; default: "
        "<clients_per_round>, which it takes the place of.",
        range=COUNT,
    )
    concurrency: int | None = option(
        None,
        "Clients at work at any time; default: twice as many as updates in a "
        "step, or all.",
        range=COUNT,
    )
    staleness_exponent: float = option(
        0.5,
        "a in 1 / (1 + tau)^a, by which an update counts that began tau steps "
        "of the server before; 0 counts all the same.",
        range=Range(0, 100, "from 0 to 100"),
    )
    max_staleness: int | None = option(
        None,
        "Updates that began more steps of the server before are dropped; "
        "default: none are.",
        range=COUNT,
    )

    def clients_at_work(self, buffer_size: int, num_clients: int) -> int:
        """How many are in flight at any time.

        Raises:
          UsageError: More than there are.
        """
        if self.concurrency is None:
            return min(2 * buffer_size, num_clients)
        if self.concurrency > num_clients:
            raise UsageError(
                f"<algorithm.concurrency>={self.concurrency} is more than the "
                f"number of clients, {num_clients}: use fewer at once or more "
                "clients."
            )
        return self.concurrency

    def check(self, config: Any) -> None:
        """Refuses more clients at work than a `RunConfig` has."""
        if config.num_clients is not None:
            self.clients_at_work(config.clients_per_round, config.num_clients)
