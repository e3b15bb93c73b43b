"""The server of the protocol, which follows it and is curious."""

from collections.abc import Mapping

import numpy as np

from tff_cnn.aggregators.masking import keys, masks, messages, sharing
from tff_cnn.aggregators.masking.client import SEALED_BYTES, pair_secret, sign
from tff_cnn.aggregators.masking.graphs import Graph
from tff_cnn.aggregators.masking.messages import AbortedError
from tff_cnn.aggregators.masking.rings import Ring


class Server:
    """The server, for one sum. Its methods are called in this order.

    Of vectors it keeps the sum alone: a masked vector is added as it comes.
    """

    def __init__(self, graph: Graph, thresholds: Mapping[int, int], ring: Ring):
        """Args:
        graph: Of all clients that are asked to take part.
        thresholds: t of each.
        ring: What is computed in.
        """
        self._graph = graph
        self._thresholds = thresholds
        self._ring = ring
        self._advertised: dict[int, bytes] = {}
        self._shared: set[int] = set()
        self._masked: set[int] = set()
        self._total: np.ndarray | None = None

    @property
    def recovered(self) -> frozenset[int]:
        """U2 without U3: those whose masks are removed without them."""
        return frozenset(self._shared - self._masked)

    def collect_keys(self, sent: Mapping[int, bytes]) -> dict[int, bytes]:
        """Phase 0: U1 -> the keys of its neighbours in U1.

        Raises:
          AbortedError: Too few are left, as in every phase.
        """
        self._advertised = dict(sent)
        self._check_enough(sent.keys(), sent.keys())
        return {
            u: messages.table({v: sent[v] for v in self._graph[u] if v in sent})
            for u in sent
        }

    def collect_shares(self, sent: Mapping[int, bytes]) -> dict[int, bytes]:
        """Phase 1: U2 -> what its neighbours in U2 have sealed for it."""
        self._shared = set(sent)
        self._check_enough(self._shared, self._shared)
        rows = {
            u: messages.rows_of(table, SEALED_BYTES)
            for u, table in sent.items()
        }
        return {
            u: messages.table(
                {v: rows[v][u] for v in self._graph[u] if v in rows}
            )
            for u in rows
        }

    def add_masked(self, client: int, sent: bytes) -> None:
        """Phase 2: y of a client of U2."""
        if client not in self._shared or client in self._masked:
            raise ValueError(f"client {client} has no masked vector to send.")
        vector = self._ring.from_bytes(sent)
        self._masked.add(client)
        if self._total is None:
            self._total = vector
        else:
            self._ring.add(self._total, vector)

    def survivors(self) -> dict[int, bytes]:
        """Phase 2 is over: U3 -> who of its holders is in U3."""
        self._check_enough(self._shared, self._masked)
        return {
            u: messages.ids(v for v in self._holders(u) if v in self._masked)
            for u in sorted(self._masked)
        }

    def unmasked(self, sent: Mapping[int, bytes]) -> np.ndarray:
        """Phase 3: the sum of x over U3, modulo R.

        Args:
          sent: Shares from those of U3 that are still there.

        Returns:
          `ring.dtype`, [m].
        """
        self._check_enough(self._shared, sent.keys())
        of_seeds: dict[int, dict[int, bytes]] = {u: {} for u in self._masked}
        of_keys: dict[int, dict[int, bytes]] = {u: {} for u in self.recovered}
        for holder, tables in sent.items():
            seeds, secrets = messages.rows_of_two(tables, sharing.SHARE_BYTES)
            for found, kind in ((seeds, of_seeds), (secrets, of_keys)):
                for u, share in found.items():
                    kind[u][holder + 1] = share
        for u, shares in of_seeds.items():
            seed = sharing.restored(shares, self._thresholds[u])
            masks.add(self._total, seed, -1, self._ring)
        for u, shares in of_keys.items():
            self._remove_pairs(u, sharing.restored(shares, self._thresholds[u]))
        return self._ring.reduced(self._total)

    def _remove_pairs(self, u: int, secret: bytes) -> None:
        """Removes the masks that survivors share with u, who has dropped out.

        Raises:
          ValueError: The key is not that of the client.
        """
        pair = keys.KeyPair(secret)
        if pair.public != self._mask_key(u):
            raise ValueError(f"the shares of client {u} are of another key.")
        for v in self._graph[u]:
            if v in self._masked:
                secret = pair_secret(pair, self._mask_key(v))
                masks.add(self._total, secret, -sign(v, u), self._ring)

    def _mask_key(self, u: int) -> bytes:
        return self._advertised[u][keys.PUBLIC_BYTES :]

    def _holders(self, u: int) -> tuple[int, ...]:
        return (*self._graph[u], u)

    def _check_enough(self, of_whom, present) -> None:
        """Whether each client has t holders that are present, and one is."""
        if not present:
            raise AbortedError("no client is left.")
        for u in of_whom:
            count = sum(v in present for v in self._holders(u))
            if count < self._thresholds[u]:
                raise AbortedError(
                    f"of the holders of client {u}'s shares {count} are left, "
                    f"and it takes {self._thresholds[u]}."
                )
