"""Asynchronous rounds: a step of the server for so many updates that arrive.

Who arrives, and what each began with, is known from the simulated clock before
anything is computed (`selection.arrivals`). The updates of a step are computed
together when the server makes it, each from the version of the weights that its
client began with: so they go through one call of the process, and what takes
place between two steps costs nothing.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tff_cnn.algorithms.fedbuff import flattened
from tff_cnn.algorithms.rule_process import KEPT, RuleProcess
from tff_cnn.core.weights import Weights
from tff_cnn.selection.arrivals import Arrivals, Clock, ServerStep
from tff_cnn.training.engine import Row, StepResult, Work
from tff_cnn.training.engines import federated


class State(NamedTuple):
    """What a run goes on from.

    Attributes:
      server: `algorithms.rule_process.ServerState`.
      numbers: int64, [versions]: steps of the server that clients in flight
        began after; ascending, that of `server` is the last.
      versions: float32, [versions, parameters]: the weights after these steps.
    """

    server: Any
    numbers: np.ndarray
    versions: np.ndarray


class Arrived(NamedTuple):
    """`Work.data` of a round.

    Attributes:
      step: Of the clock.
      data: Of each client in it, what it hands to the process but for the
        weights that it began with.
    """

    step: ServerStep
    data: Sequence[Any]


def build(run: Any, scratch: pathlib.Path | None) -> "Buffered":
    """The engine of a `training.assembly.Run` whose algorithm is FedBuff.

    Raises:
      UsageError: More clients would be at work than there are.
    """
    del scratch  # Clients in flight share what they keep.
    options = run.config.algorithm
    num_clients = run.sampler.num_clients
    arrivals = Arrivals(
        num_clients,
        run.config.clients_per_round,
        options.clients_at_work(run.config.clients_per_round, num_clients),
        run.client_seconds,
        run.cohort_seed,
        options.max_staleness,
    )
    return Buffered(run.process, Clock(arrivals).step, run.client_data)


@dataclasses.dataclass(frozen=True)
class Buffered:
    """An `Engine` whose round is a step of a server with a buffer.

    Attributes:
      process: Of `algorithms.fedbuff`.
      server_step: Round -> who arrives for it; a pure function.
      client_data: (client, round that it began in) -> that client's argument to
        the process, but for what it kept.
    """

    process: RuleProcess
    server_step: Callable[[int], ServerStep]
    client_data: Callable[[int, int], Any]

    def initialize(self) -> State:
        """The process's initial state; all begin with its weights."""
        server = self.process.process.initialize()
        first = flattened(self.process.weights(server))
        return State(server, np.zeros(1, np.int64), first[np.newaxis])

    def plan(self, number: int) -> Work:
        """Who arrives for a step, and what each of them hands over."""
        step = self.server_step(number)
        data = [
            self.client_data(client, version + 1)
            for client, version in zip(step.clients, step.versions, strict=True)
        ]
        return Work(number, step.clients, Arrived(step, data))

    def step(self, state: State, work: Work) -> StepResult:
        """One `next` of the process, on the updates in the buffer."""
        step, data = work.data
        versions = dict(
            zip(state.numbers.tolist(), state.versions, strict=True)
        )
        data = [
            [{**element, KEPT: kept} for element in elements]
            for elements, kept in zip(
                data, self._kept(step, versions), strict=True
            )
        ]
        server, _, metrics = self.process.process.next(state.server, data)
        versions[step.number] = flattened(self.process.weights(server))
        after = State(
            server,
            np.array(step.in_flight, np.int64),
            np.stack([versions[number] for number in step.in_flight]),
        )
        return StepResult(after, self._row(step, federated.row(metrics)))

    def weights(self, state: State) -> Weights:
        """All trainable weights of the model that the server has."""
        return self.process.weights(state.server)

    def _kept(self, step: ServerStep, versions) -> list[np.ndarray]:
        """What each client of a step has kept since it began."""
        rule = self.process.rule
        return [
            rule.in_flight(versions[version], staleness)
            for version, staleness in zip(
                step.versions, step.staleness, strict=True
            )
        ]

    def _row(self, step: ServerStep, found: Row) -> Row:
        """What the clock tells of a step, and what went over the network.

        What is measured of updates is of those that were computed; those that
        were dropped took as many bytes, each as any other: codes of which that
        is not so are refused beside <algorithm.max_staleness>.

        Args:
          step: Of the clock.
          found: What the process reports.
        """
        staleness = step.staleness
        num_computed = len(step.clients)
        num_arrived = num_computed + step.num_dropped
        bytes_up = num_arrived * self.process.bytes_up
        if "bytes_up" in found and num_computed:
            bytes_up = num_arrived * found["bytes_up"] // num_computed
        return {
            **found,
            "cohort_size": len(step.clients),
            "bytes_down": step.num_started * self.process.bytes_down,
            "bytes_up": bytes_up,
            "simulated_seconds": step.seconds,
            "simulated_time": step.time,
            "mean_staleness": float(np.mean(staleness)) if staleness else None,
            "max_staleness": max(staleness, default=None),
            "updates_dropped": step.num_dropped,
        }
