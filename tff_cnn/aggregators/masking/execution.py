"""The modular sums of a run's rounds, executed by the protocol."""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np

from tff_cnn.aggregators.masking import graphs
from tff_cnn.aggregators.masking.messages import Phase
from tff_cnn.aggregators.masking.protocol import SecureSum
from tff_cnn.aggregators.masking.rings import Ring
from tff_cnn.core import randomness, secure_sums


@dataclasses.dataclass(frozen=True)
class Masking:
    """How sums are masked, and who is lost meanwhile.

    Attributes:
      threshold: Holders of a client's shares that it takes, as a fraction:
        above 1/2, at most 1.
      neighbours: Clients that each masks with, even; None is all.
      dropout: Probability, in [0, 1), that a client is not there for a phase
        any more, for each of the four.
    """

    threshold: float
    neighbours: int | None = None
    dropout: float = 0.0

    def dropped(
        self, num_clients: int, rng: np.random.Generator
    ) -> dict[int, Phase]:
        """Client -> the first phase that it is not there for."""
        is_gone = rng.random([num_clients, len(Phase)]) < self.dropout
        first = np.argmax(is_gone, axis=1)
        return {
            int(u): Phase(first[u]) for u in np.flatnonzero(is_gone.any(axis=1))
        }

    def drawn(
        self, num_clients: int, rng: np.random.Generator
    ) -> tuple[graphs.Graph, dict[int, Phase]]:
        """Both of a sum."""
        graph = self.graph(num_clients, rng)
        return graph, self.dropped(num_clients, rng)

    def graph(self, num_clients: int, rng: np.random.Generator) -> graphs.Graph:
        """Who masks with whom."""
        if self.neighbours is None:
            return graphs.complete(num_clients)
        return graphs.regular(num_clients, self.neighbours, rng)


@dataclasses.dataclass
class Report:
    """What became of a round's sums, and what they took.

    Attributes:
      num_sums: Sums.
      dropped: Clients whose vectors are in none, over all sums.
      recovered: Of these, those whose masks had to be removed.
      aborted: Sums that were given up.
      bytes_up: Of all clients' messages, as they were sent.
      bytes_down: Of all messages to them.
    """

    num_sums: int = 0
    dropped: int = 0
    recovered: int = 0
    aborted: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


def _generator(seed: int, number: int, index: int) -> np.random.Generator:
    """Of a sum of a round."""
    purpose = randomness.Purpose.SECURE_SUMS
    return randomness.generator(seed, purpose, number, index)


def absent(
    masking: Masking, seed: int, number: int, num_clients: int
) -> frozenset[int]:
    """Clients that drop out of a round's first sum before they send a vector.

    If it is not aborted, all others are in it.

    Args:
      masking: How.
      seed: Root seed of the run.
      number: Of the round.
      num_clients: Of the sum.
    """
    _, dropped = masking.drawn(num_clients, _generator(seed, number, 0))
    return frozenset(
        u for u, phase in dropped.items() if phase <= Phase.MASKED_INPUT
    )


@contextlib.contextmanager
def of_round(masking: Masking, seed: int, number: int) -> Iterator[Report]:
    """All modular sums meanwhile are masked; yields what becomes of them.

    Who drops out, and who is whose neighbour, is a function of seed, round and
    sum, so that a run computed again is the same. Keys and masks are not.

    Args:
      masking: How.
      seed: Root seed of the run.
      number: Of the round.
    """
    report = Report()

    def begin(moduli: list[int], num_clients: int) -> secure_sums.ModularSum:
        rng = _generator(seed, number, report.num_sums)
        report.num_sums += 1
        return _MaskedSum(masking, moduli, num_clients, rng, report)

    with secure_sums.executed_by(begin):
        yield report


class _MaskedSum:
    """A `secure_sums.ModularSum` that is zero where it is aborted."""

    def __init__(self, masking, moduli, num_clients, rng, report):
        if len(set(moduli)) != 1:
            raise NotImplementedError(
                f"one masked sum of several moduli: {sorted(set(moduli))}."
            )
        graph, dropped = masking.drawn(num_clients, rng)
        self._session = SecureSum(
            graph, masking.threshold, Ring(moduli[0]), dropped
        )
        self._num_clients = num_clients
        self._report = report
        self._like: list[np.ndarray] = []

    def add(self, client: int, arrays: list[np.ndarray]) -> None:
        if not self._like:
            self._like = [np.zeros_like(array) for array in arrays]
        vector = np.concatenate([np.ravel(array) for array in arrays])
        self._session.add(client, vector)

    def finish(self) -> list[np.ndarray]:
        outcome, report = self._session.finish(), self._report
        transcript = self._session.transcript
        report.bytes_up += sum(transcript.bytes_up.values())
        report.bytes_down += sum(transcript.bytes_down.values())
        report.dropped += self._num_clients - len(outcome.summed)
        report.recovered += len(outcome.recovered)
        if outcome.total is None:
            report.aborted += 1
            return self._like
        ends = np.cumsum([array.size for array in self._like])
        return [
            part.astype(array.dtype).reshape(array.shape)
            for part, array in zip(
                np.split(outcome.total, ends[:-1]), self._like, strict=True
            )
        ]
