"""Federated algorithms: one file each, built from TFF's four slots."""

import dataclasses
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import (
    COUNT,
    INT32,
    Range,
    integers,
    option,
    positive,
)
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import GUARDED_EXAMPLES, STATELESS_CLIENTS

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


_OF_EDGES = (
    "the cloud takes the mean of edges, each of several rounds of its clients, "
    "and the accountant has a rule only for a sum over clients"
)


@ALGORITHMS.entry(
    "hierarchical",
    "tff_cnn.algorithms.hierarchical:build_hierarchical",
    offers=[GUARDED_EXAMPLES, STATELESS_CLIENTS],
    refuses={
        "dp": _OF_EDGES,
        "local_randomizer": "clients send an update in each round of their "
        "edge, more than the accountant counts in a round",
        "example_dp": "clients take local steps in each round of their edge, "
        "more than the accountant counts in a round",
    },
    engine="tff_cnn.training.engines.hierarchical:build",
)
@dataclasses.dataclass(frozen=True)
class Hierarchical:
    """HierFAVG: clients, edges and a cloud (Liu et al. 2020)."""

    num_edges: int = option(
        2,
        "Edge servers that the clients are dealt to, equally many to each.",
        range=COUNT,
    )
    kappa1: int | None = option(
        None,
        "Local steps of a client between two aggregations of its edge "
        "(default: those of <client_epochs>).",
        range=integers(1, INT32),
    )
    kappa2: int = option(
        2,
        "Aggregations of an edge between two of the cloud, which are a round's "
        "beginning and end; 1 is fedavg.",
        range=integers(1, INT32),
    )
    edges: str = option(
        "iid",
        "Which clients an edge has: iid, dealt at random; or niid, those whose "
        "most frequent label is the same, so that edges differ.",
        choices={"iid": (), "niid": ()},
    )

    def check(self, config: Any) -> None:
        """Refuses edges without clients, and passes that would be ignored."""
        clients = config.num_clients
        if clients is not None and self.num_edges > clients:
            raise UsageError(
                f"<algorithm.num_edges>={self.num_edges} is more than "
                f"<num_clients>={clients}: use fewer edges or more clients."
            )
        if self.kappa1 is not None and config.client_epochs != 1:
            raise UsageError(
                f"<client_epochs>={config.client_epochs} would be ignored: "
                f"<algorithm.kappa1>={self.kappa1} says how many local steps "
                "clients take; remove one of the two."
            )
