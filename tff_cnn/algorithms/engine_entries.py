"""The entries of algorithms whose rounds are not one cohort's mean."""

import dataclasses
from typing import Any, ClassVar

from tff_cnn.aggregators import AGGREGATORS
from tff_cnn.algorithms import ALGORITHMS
from tff_cnn.algorithms.optimizer_entries import Sgd
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import (
    COUNT,
    INT32,
    Range,
    integers,
    option,
    positive,
)
from tff_cnn.core.traits import (
    GUARDED_EXAMPLES,
    STATELESS_CLIENTS,
    UNIFORM_DRAWS,
    UNIFORM_WEIGHTS,
)
from tff_cnn.data import SOURCES
from tff_cnn.models import ALL, MODELS

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
    measures_uploads=False,
    paper="Liu et al. 2020",
    down="w, to edges and from these to clients",
    up="w - w_k, to edges; of these to the cloud",
    keeps="nothing",
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
    paper="Nguyen et al. 2022",
    down="w",
    up="w - w_k, when it is done",
    keeps="the w it began with",
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
    paper="Lin et al. 2020",
    down="w",
    up="w - w_k",
    keeps="nothing",
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
    paper="Li & Wang 2019",
    down="consensus on public examples",
    up="predictions of them",
    keeps="a model of its own",
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
