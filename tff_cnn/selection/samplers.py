"""Samplers: each is built from (num_clients, clients_per_round).

`sample(round_num, seed)` returns the sorted ids (int64, in [0, num_clients))
of the round's cohort; `rate` is the probability that a given client is in it.
"""

import dataclasses

import numpy as np

from tff_cnn.core import randomness
from tff_cnn.core.errors import UsageError


@dataclasses.dataclass(frozen=True)
class _Sampler:
    """What all samplers share.

    Attributes:
      num_clients: >= 1.
      clients_per_round: (Expected) size of the cohort, in [1, num_clients].
    """

    num_clients: int
    clients_per_round: int

    def __post_init__(self):
        if not 1 <= self.clients_per_round <= self.num_clients:
            raise UsageError(
                f"--clients_per_round={self.clients_per_round} must be between "
                f"1 and the number of clients, {self.num_clients}."
            )

    @property
    def rate(self) -> float:
        """Probability that a given client takes part in a given round."""
        return self.clients_per_round / self.num_clients

    def _generator(self, round_num: int, seed: int) -> np.random.Generator:
        return randomness.generator(
            seed, randomness.Purpose.SELECTION, round_num
        )


class PoissonSampler(_Sampler):
    """Each client takes part independently with probability `rate`.

    The cohort's size varies and may be zero. This is what amplification by
    Poisson sampling assumes, for an adversary who does not know the cohort:
    the seed must stay secret where the epsilon is to hold.
    """

    def sample(self, round_num: int, seed: int) -> np.ndarray:
        draws = self._generator(round_num, seed).random(self.num_clients)
        return np.flatnonzero(draws < self.rate)


class FixedSizeSampler(_Sampler):
    """Exactly `clients_per_round` clients, uniformly without replacement."""

    def sample(self, round_num: int, seed: int) -> np.ndarray:
        chosen = self._generator(round_num, seed).choice(
            self.num_clients, self.clients_per_round, replace=False
        )
        return np.sort(chosen).astype(np.int64)


class FullParticipation(_Sampler):
    """Every client in every round; needs clients_per_round = num_clients."""

    def __post_init__(self):
        super().__post_init__()
        if self.clients_per_round != self.num_clients:
            raise UsageError(
                "with full participation clients_per_round "
                f"({self.clients_per_round}) is the number of clients "
                f"({self.num_clients})."
            )

    def sample(self, round_num: int, seed: int) -> np.ndarray:
        del round_num, seed
        return np.arange(self.num_clients)
