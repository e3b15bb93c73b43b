"""Federated algorithms: one file each, built from TFF's four slots."""

import dataclasses
from typing import Any, ClassVar

from tff_cnn.aggregators import AGGREGATORS
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import COUNT, Range, integers, option, positive
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import (
    GUARDED_EXAMPLES,
    STATELESS_CLIENTS,
    UNIFORM_WEIGHTS,
)
from tff_cnn.data import SOURCES
from tff_cnn.models import ALL, MODELS

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


@dataclasses.dataclass(frozen=True)
class PublicData:
    """Options of algorithms that learn from what is no client's.

    Attributes:
      public_labels: Whether they may know the labels of it.
    """

    public_labels: ClassVar[bool] = False

    public_dataset: str | None = option(
        None,
        "Data set whose training images are public, as <dataset> names them, "
        "of the same size and read from the same folder (default: some of "
        "<dataset>'s, which no client has then).",
        check=lambda name: SOURCES.options_of(name, "algorithm.public_dataset"),
    )
    public_examples: int | None = option(
        None,
        "Public examples, drawn from them (default: all of <public_dataset>, "
        "or a fifth of <dataset>'s).",
        range=COUNT,
    )

    def check(self, config: Any) -> None:
        """Raises `UsageError` where the server would not see single clients.

        An aggregator sees what is for the mean, and these are no means.
        """
        entry = AGGREGATORS.entry_of(config.aggregator)
        if entry.name != "mean":
            name = ALGORITHMS.entry_of(self).name
            raise UsageError(
                f"<aggregator>={entry.name} does not fit <algorithm>={name}: "
                "the server also learns from what each client predicts, which "
                "no aggregator sees; use <aggregator>=mean."
            )


@ALGORITHMS.entry(
    "feddf",
    "tff_cnn.algorithms.feddf:build_feddf",
    offers=[GUARDED_EXAMPLES, STATELESS_CLIENTS],
    refuses={
        "dp": "the server distils the models of single clients, which have no "
        "noise",
        "local_randomizer": "it randomizes the updates that are averaged, and "
        "the server distils the clients' models as they are",
    },
    engine="tff_cnn.training.engines.distillation:build",
)
@dataclasses.dataclass(frozen=True)
class FedDf(PublicData):
    """The mean is taught by its clients on unlabeled data (Lin et al. 2020)."""

    distill_steps: int = option(
        500,
        "Steps of the server's distillation in a round, >= 0; 0 is FedAvg.",
        range=integers(0, 10**7),
    )
    distill_batch_size: int = option(
        128, "Public examples in a step of distillation.", range=COUNT
    )
    distill_learning_rate: float = option(
        1e-3,
        "Adam's learning rate in distillation, > 0; it falls to zero in each "
        "round, along a cosine.",
        range=positive(),
    )


def _models_in(names: str) -> tuple[str, ...]:
    """The models that a text names, separated by commas.

    Raises:
      UsageError: One is not known.
    """
    return tuple(MODELS.check(name) for name in names.split(","))


@ALGORITHMS.entry(
    "fedmd",
    "tff_cnn.algorithms.fedmd:build_fedmd",
    needs={UNIFORM_WEIGHTS: "its consensus is the plain mean of all scores"},
    engine="tff_cnn.training.engines.exchange:build",
)
@dataclasses.dataclass(frozen=True)
class FedMd(PublicData):
    """Clients of different CNNs exchange predictions (Li & Wang 2019)."""

    public_labels: ClassVar[bool] = True

    client_models: str | None = option(
        None,
        "Models of the clients, as digits_cnn,lenet5: client k has the k-th of "
        "them, and after the last comes the first (default: <model>, which "
        "else is the server's alone).",
        check=_models_in,
    )
    consensus_examples: int | None = option(
        None,
        "Public examples, drawn anew in each round, whose scores are exchanged "
        "(default: all).",
        range=COUNT,
    )
    transfer_epochs: int = option(
        1,
        "Passes over the public examples and their labels, before a client "
        "first takes part.",
        range=integers(0, 10**6),
    )
    digest_epochs: int = option(
        1,
        "Passes over the scores that were exchanged, in a round.",
        range=integers(0, 10**6),
    )
    public_batch_size: int = option(
        256, "Examples in a step on public ones.", range=COUNT
    )

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the clients' models; () where they have the server's."""
        return _models_in(self.client_models) if self.client_models else ()

    def check(self, config: Any) -> None:
        """Raises `UsageError` of what would be ignored."""
        PublicData.check(self, config)
        if config.trainable != ALL:
            raise UsageError(
                f"<trainable>={config.trainable} does not fit <algorithm>="
                "fedmd: clients' models are their own, with other layers; use "
                f"<trainable>={ALL}."
            )
        if config.server_optimizer != Sgd(1.0):
            raise UsageError(
                "<server_optimizer> would be ignored by <algorithm>=fedmd, "
                "whose server averages scores: leave it out, with its options."
            )
