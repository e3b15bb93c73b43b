"""One secure sum: clients and a server in one process.

Vectors are masked one after the other, as they come, and of what is masked only
the sum is kept.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tff_cnn.aggregators.masking import graphs
from tff_cnn.aggregators.masking.client import Client
from tff_cnn.aggregators.masking.graphs import Graph
from tff_cnn.aggregators.masking.messages import (
    AbortedError,
    Phase,
    Transcript,
)
from tff_cnn.aggregators.masking.rings import Ring
from tff_cnn.aggregators.masking.server import Server


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a sum ended.

    Attributes:
      total: `ring.dtype`, [m]: the sum modulo R over `summed`; None where it
        was aborted.
      summed: Clients whose vectors are in it.
      recovered: Those who dropped out with masks in it, which were removed.
      reason: Why it was aborted; "" where it was not.
    """

    total: np.ndarray | None
    summed: frozenset[int]
    recovered: frozenset[int]
    reason: str = ""


class SecureSum:
    """A secure sum that has begun: phases 0 and 1 are over.

    A vector is added for each client in turn, whether it is still there or not.
    """

    def __init__(
        self,
        graph: Graph,
        threshold: float,
        ring: Ring,
        dropped: Mapping[int, Phase] | None = None,
        transcript: Transcript | None = None,
    ):
        """Args:
        graph: Of the clients, 0 to n - 1: see `graphs`.
        threshold: As a fraction of a client's holders: see
          `graphs.threshold`.
        ring: What is computed in.
        dropped: Client -> the first phase that it is not there for.
        transcript: Where messages are noted.
        """
        self.transcript = Transcript() if transcript is None else transcript
        self._ring = ring
        self._dropped = dict(dropped or {})
        thresholds = {
            u: graphs.threshold(threshold, len(others) + 1)
            for u, others in graph.items()
        }
        self._clients = {u: Client(u, thresholds[u], ring) for u in graph}
        self._server = Server(graph, thresholds, ring)
        self._summed: set[int] = set()
        self._sealed: dict[int, bytes] = {}
        self._aborted = ""
        self._guarded(self._share)

    def add(self, client: int, vector: np.ndarray) -> None:
        """Phase 2 of a client, if it is there.

        Args:
          client: Index.
          vector: x: integers, [m], m the same for all.
        """
        if client not in self._sealed or self._aborted:
            return
        sealed = self._sent_down(Phase.SHARE_KEYS, client, self._sealed)
        if not self._is_there(client, Phase.MASKED_INPUT):
            return

        def mask():
            masked = self._clients[client].mask(sealed, vector)
            self._sent_up(Phase.MASKED_INPUT, client, masked)
            self._server.add_masked(client, masked)
            self._summed.add(client)

        self._guarded(mask)

    def finish(self) -> Outcome:
        """Phase 3, and the sum."""
        total = self._guarded(self._unmask)
        if self._aborted:
            return Outcome(None, frozenset(), frozenset(), self._aborted)
        return Outcome(total, frozenset(self._summed), self._server.recovered)

    def _share(self) -> None:
        phase = Phase.ADVERTISE_KEYS
        advertised = self._server.collect_keys(
            {
                u: self._sent_up(phase, u, client.advertise())
                for u, client in self._clients.items()
                if self._is_there(u, phase)
            }
        )
        shared = {}
        for u in advertised:
            sent = self._sent_down(phase, u, advertised)
            if self._is_there(u, Phase.SHARE_KEYS):
                shared[u] = self._sent_up(
                    Phase.SHARE_KEYS, u, self._clients[u].share(sent)
                )
        self._sealed = self._server.collect_shares(shared)

    def _unmask(self) -> np.ndarray | None:
        survivors = self._server.survivors()
        sent = {}
        for u in survivors:
            asked = self._sent_down(Phase.MASKED_INPUT, u, survivors)
            if self._is_there(u, Phase.UNMASKING):
                sent[u] = self._sent_up(
                    Phase.UNMASKING, u, self._clients[u].unmask(asked)
                )
        return self._server.unmasked(sent)

    def _guarded(self, step):
        """What a step returns; None once the sum is aborted."""
        if self._aborted:
            return None
        try:
            return step()
        except AbortedError as error:
            self._aborted = str(error)
            return None

    def _is_there(self, client: int, phase: Phase) -> bool:
        return phase < self._dropped.get(client, len(Phase))

    def _sent_up(self, phase: Phase, client: int, content: bytes) -> bytes:
        return self.transcript.sent_up(phase, client, content)

    def _sent_down(
        self, phase: Phase, client: int, contents: Mapping[int, bytes]
    ) -> bytes:
        return self.transcript.sent_down(phase, client, contents[client])
