"""Synchronous rounds of clients that keep something between them."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tff_cnn.algorithms.rule_process import KEPT, RuleProcess
from tff_cnn.core.client_states import ClientStates
from tff_cnn.core.weights import Weights
from tff_cnn.training.engine import StepResult, Work
from tff_cnn.training.engines import federated
from tff_cnn.training.narrowing import LOSS_BYTES, Narrow


class State(NamedTuple):
    """What a run goes on from.

    Attributes:
      server: `algorithms.rule_process.ServerState`.
      clients: What each client keeps; it is never exported.
    """

    server: Any
    clients: ClientStates


def build(run: Any, scratch: pathlib.Path | None) -> "Stateful":
    """The engine of a `training.assembly.Run`."""
    states = ClientStates(
        run.process.initial_kept,
        scratch=scratch,
        max_bytes=run.config.client_states_mb * 2**20,
    )
    return Stateful(
        run.process, run.sample_cohort, run.client_data, states, run.narrow
    )


@dataclasses.dataclass(frozen=True)
class Stateful:
    """An `Engine` over a `RuleProcess`.

    Attributes:
      process: Of the algorithm.
      sample_cohort: Round -> client ids, each once.
      client_data: (client, round) -> that client's argument to the process, but
        for what it kept.
      states: Before anybody took part.
      narrow: Takes those who take part out of a cohort of candidates; None
        takes all.
    """

    process: RuleProcess
    sample_cohort: Callable[[int], Sequence[int]]
    client_data: Callable[[int, int], Any]
    states: ClientStates
    narrow: Narrow | None = None

    def initialize(self) -> State:
        """The process's initial state, and clients that keep nothing yet."""
        return State(self.process.process.initialize(), self.states)

    def plan(self, number: int) -> Work:
        """The cohort, and what each of its clients hands to the process."""
        cohort = self.sample_cohort(number)
        data = [self.client_data(client, number) for client in cohort]
        return Work(number, cohort, data)

    def step(self, state: State, work: Work) -> StepResult:
        """One `next` of the process; what clients keep goes in and out."""
        num_sent, bytes_up = len(work.cohort), 0
        if self.narrow is not None:
            work = self.narrow(self.weights(state), work)
            bytes_up = num_sent * LOSS_BYTES
        data = work.data
        if len(state.clients.initial):
            data = [
                [{**element, KEPT: kept} for element in elements]
                for elements, kept in zip(
                    data, state.clients.of(work.cohort), strict=True
                )
            ]
        server, kept, metrics = self.process.process.next(state.server, data)
        clients = state.clients
        if len(clients.initial):
            clients = clients.after(work.cohort, list(map(np.asarray, kept)))
        process = self.process
        down = federated.weights_sent(metrics, process.weight_bytes)
        row = {
            "bytes_down": num_sent * (down + process.extra_bytes),
            "bytes_up": len(work.cohort) * self.process.bytes_up,
            **federated.row(metrics),
        }
        return StepResult(
            State(server, clients),
            {
                "cohort_size": len(work.cohort),
                **row,
                "bytes_up": bytes_up + row["bytes_up"],
            },
            federated.measured(metrics),
            work.cohort,
        )

    def weights(self, state: State) -> Weights:
        """All trainable weights of the model that the server has."""
        return self.process.weights(state.server)

    @property
    def has_personal_models(self) -> bool:
        """Whether a client's model is another than the server's."""
        return self.process.rule.has_personal_models

    def personal_weights(self, state: State, client: int) -> Weights:
        """All trainable weights of the model that a client has for itself."""
        (kept,) = state.clients.of([client])
        return self.process.personal_weights(state.server, kept)
