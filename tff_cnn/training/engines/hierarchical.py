"""Rounds of a cloud, each made of several rounds of its edges."""

import collections
import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_federated as tff

from tff_cnn.algorithms.hierarchical import CloudState, HierarchicalProcess
from tff_cnn.core import weights as weight_arithmetic
from tff_cnn.core.weights import Weights
from tff_cnn.training.engine import Row, StepResult, Work
from tff_cnn.training.narrowing import LOSS_BYTES, Narrow


class State(NamedTuple):
    """What a run goes on from.

    Attributes:
      cloud: `algorithms.hierarchical.CloudState`.
      edges: Of each edge, what its process goes on from besides the weights:
        an aggregator may keep something.
    """

    cloud: CloudState
    edges: tuple


class _EdgeModel(NamedTuple):
    """What an edge sends to the cloud, and what it tells of its rounds.

    Attributes:
      model: Trainable weights after its last round.
      weight: A_l: of its clients together, in the mean over its rounds.
      state: See `State.edges`.
      metrics: Of each round.
    """

    model: Weights
    weight: float
    state: tuple
    metrics: list[Mapping[str, Any]]


def build(run: Any, scratch: pathlib.Path | None) -> "Hierarchical":
    """The engine of a `training.assembly.Run`.

    Raises:
      UsageError: There are more edges than clients.
    """
    del scratch  # Clients keep nothing.
    process, clients = run.process, run.task.clients
    labels = [clients.labels(client) for client in range(len(clients))]
    batching = dataclasses.replace(run.batching, steps=process.kappa1)
    return Hierarchical(
        process,
        process.edges.of_clients(labels, run.config.seed),
        run.sample_cohort,
        dataclasses.replace(run, batching=batching).client_data,
        run.narrow,
    )


@dataclasses.dataclass(frozen=True)
class Hierarchical:
    """An `Engine` over a `HierarchicalProcess`.

    Attributes:
      process: Of the algorithm.
      edge_of: The edge of each client: int, [num_clients].
      sample_cohort: Round -> client ids.
      client_data: (client, edge round, from 1 over the run) -> that client's
        argument to the edge's process.
      narrow: Takes those who take part out of a cohort of candidates; None
        takes all.
    """

    process: HierarchicalProcess
    edge_of: np.ndarray
    sample_cohort: Callable[[int], Sequence[int]]
    client_data: Callable[[int, int], Any]
    narrow: Narrow | None = None

    def initialize(self) -> State:
        """The initial weights, at the cloud and at every edge."""
        _, *rest = self.process.edge.initialize()
        edges = (tuple(rest),) * self.process.edges.num_edges
        return State(self.process.cloud.initialize(), edges)

    def plan(self, number: int) -> Work:
        """The cohort, and each client's data in all rounds of its edge."""
        cohort = self.sample_cohort(number)
        data = [self._all_rounds(client, number) for client in cohort]
        return Work(number, cohort, data)

    def _all_rounds(self, client: int, number: int) -> list:
        """A client's data in each edge round of a round; images only once."""
        first, *others = (
            self.client_data(client, edge_round)
            for edge_round in self._edge_rounds(number)
        )
        kept = {name: first[0][name] for name in ("images", "labels")}
        return [
            first,
            *([collections.OrderedDict(e, **kept)] for (e,) in others),
        ]

    def _edge_rounds(self, number: int) -> range:
        """Numbers, over the whole run, of the edge rounds of a round."""
        count = self.process.kappa2
        return range(1 + (number - 1) * count, 1 + number * count)

    def step(self, state: State, work: Work) -> StepResult:
        """All rounds of the edges, then one of the cloud."""
        candidates = work.cohort
        if self.narrow is not None:
            work = self.narrow(self.weights(state), work)
        members = collections.defaultdict(list)
        for client, data in zip(work.cohort, work.data, strict=True):
            members[int(self.edge_of[client])].append(data)
        found = {
            edge: self._edge_model(state, edge, data)
            for edge, data in members.items()
        }
        cloud = self.process.cloud.next(
            state.cloud,
            [edge.model for edge in found.values()],
            [edge.weight for edge in found.values()],
        )
        edges = list(state.edges)
        for edge, model in found.items():
            edges[edge] = model.state
        return StepResult(
            State(cloud, tuple(edges)),
            {
                "cohort_size": len(work.cohort),
                **_metrics([edge.metrics for edge in found.values()]),
                "examples": _num_examples(work.data),
                **self._bytes(state, candidates, work.cohort),
            },
            cohort=work.cohort,
        )

    def _edge_model(self, state: State, edge: int, data: list) -> _EdgeModel:
        """Step 2 of Algorithm 1 for an edge, with its clients of this round."""
        edge_state = tff.learning.templates.LearningAlgorithmState(
            state.cloud.global_model_weights, *state.edges[edge]
        )
        metrics = []
        for edge_round in range(self.process.kappa2):
            output = self.process.edge.next(
                edge_state, [rounds[edge_round] for rounds in data]
            )
            edge_state = output.state
            metrics.append(output.metrics)
        model, *rest = edge_state
        weight = np.mean([m["aggregator"] for m in metrics], dtype=np.float32)
        return _EdgeModel(model.trainable, weight, tuple(rest), metrics)

    def _bytes(
        self,
        state: State,
        candidates: Sequence[int],
        cohort: Sequence[int],
    ) -> Row:
        """Traffic between clients and edges, and between edges and cloud.

        Candidates are sent the model, and answer with their loss; those that
        take part have it already in the first round of their edge.
        """
        size = weight_arithmetic.num_bytes(self.weights(state))
        later_rounds = self.process.kappa2 - 1
        polled = 0 if self.narrow is None else len(candidates) * LOSS_BYTES
        sent_to = len({int(self.edge_of[client]) for client in candidates})
        sent_by = len({int(self.edge_of[client]) for client in cohort})
        sent = len(candidates) + len(cohort) * later_rounds
        return {
            "bytes_down": sent * size,
            "bytes_up": len(cohort) * self.process.kappa2 * (size + 4) + polled,
            "edge_bytes_down": sent_to * size,
            "edge_bytes_up": sent_by * (size + 4) + polled,
        }

    def weights(self, state: State) -> Weights:
        """The trainable weights that the cloud has."""
        return state.cloud.global_model_weights.trainable


def _metrics(edges: list[list[Mapping[str, Any]]]) -> Row:
    """Means over all examples of all edge rounds, and who was excluded.

    Of the edge rounds of an edge, that counts in which most clients were.
    """
    client_work = [[m["client_work"] for m in rounds] for rounds in edges]
    excluded = [
        max(int(m["num_nonfinite_clients"]) for m in rounds)
        for rounds in client_work
    ]
    row: Row = {"clients_excluded": sum(excluded)}
    for name in ("loss", "accuracy"):
        sums = [m["train"][name] for rounds in client_work for m in rounds]
        total, count = (
            math.fsum(map(float, column))
            for column in zip(*sums, (0, 0), strict=True)
        )
        row[f"train_{name}"] = total / count if count else None
    return row


def _num_examples(data: list) -> int:
    """Examples in the local steps of all clients in all edge rounds."""
    return sum(
        int(np.count_nonzero(element["batches"] >= 0))
        for rounds in data
        for (element,) in rounds
    )
