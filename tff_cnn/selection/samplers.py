"""Samplers: each is built from (num_clients, clients_per_round).

`sample(round_num, seed)` returns the sorted ids (int64, in [0, num_clients))
of the cohort of a round, from 1; `rate` is the probability that a given client
is in it. Which privacy accounting a sampler justifies is said in
`tff_cnn.privacy.participation`.

One whose cohorts also depend on the model draws candidates, and has a function
`narrowed(candidates, losses)` that takes the cohort out of them.
"""

import dataclasses
import math

import numpy as np
from scipy import stats

from tff_cnn.core import randomness
from tff_cnn.core.errors import UsageError

# Of a round whose cohort is larger than what is said to be the largest.
_NEVER = 1e-12


@dataclasses.dataclass(frozen=True)
class Sampler:
    """What all samplers share.

    Attributes:
      num_clients: >= 1.
      clients_per_round: (Expected) size of the cohort, in [1, num_clients].
    """

    num_clients: int
    clients_per_round: int

    # Known only of samplers that go through all clients in epochs.
    rounds_per_epoch = None
    min_separation = None

    def __post_init__(self):
        if not 1 <= self.clients_per_round <= self.num_clients:
            raise UsageError(
                f"<clients_per_round>={self.clients_per_round} must be between "
                f"1 and the number of clients, {self.num_clients}."
            )

    @property
    def rate(self) -> float | None:
        """Probability that a given client takes part in a given round.

        None where it is not the same for all clients.
        """
        return self.clients_per_round / self.num_clients

    @property
    def expected_cohort(self) -> float:
        """Expected number of clients in a round.

        Not `rate` times `num_clients`, which rounding moves off the integers.
        """
        return float(self.clients_per_round)

    @property
    def expected_candidates(self) -> float:
        """Expected number of clients that `sample` draws."""
        return self.expected_cohort

    @property
    def largest_cohort(self) -> int:
        """No round has more clients; a random size is above it once in 1e12."""
        return self.clients_per_round

    def _generator(self, round_num: int, seed: int) -> np.random.Generator:
        return randomness.generator(
            seed, randomness.Purpose.SELECTION, round_num
        )


class PoissonSampler(Sampler):
    """Each client takes part independently with probability `rate`.

    The cohort's size varies and may be zero. This is what amplification by
    Poisson sampling assumes, for an adversary who does not know the cohort:
    the seed must stay secret where the epsilon is to hold.
    """

    @property
    def largest_cohort(self) -> int:
        return int(stats.binom.isf(_NEVER, self.num_clients, self.rate))

    def sample(self, round_num: int, seed: int) -> np.ndarray:
        draws = self._generator(round_num, seed).random(self.num_clients)
        return np.flatnonzero(draws < self.rate)


class FixedSizeSampler(Sampler):
    """Exactly `clients_per_round` clients, uniformly without replacement."""

    def sample(self, round_num: int, seed: int) -> np.ndarray:
        chosen = self._generator(round_num, seed).choice(
            self.num_clients, self.clients_per_round, replace=False
        )
        return np.sort(chosen).astype(np.int64)


class RoundRobin(Sampler):
    """Clients in their order, cohort after cohort, again and again."""

    def sample(self, round_num: int, seed: int) -> np.ndarray:
        del seed
        first = (round_num - 1) * self.clients_per_round
        following = first + np.arange(self.clients_per_round)
        return np.sort(following % self.num_clients)


class FullParticipation(Sampler):
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


@dataclasses.dataclass(frozen=True)
class ShuffledEpochs(Sampler):
    """Each client exactly once in every epoch, and never two rounds too close.

    An epoch has `ceil(num_clients / clients_per_round)` rounds, so cohorts may
    be a little smaller than asked for; their sizes never depend on the seed.
    Clients are dealt once to blocks of rounds, and in every epoch shuffled
    anew within their block: the shorter the blocks, the further apart a
    client's rounds. Blocks of one round repeat one order in all epochs.

    Choquette-Choo et al. 2023 ("(Amplified) Banded Matrix Factorization"),
    section 2, call this participation with minimum separation.

    Attributes:
      min_separation: A client that took part in round t takes part again in
        round t + min_separation at the earliest; in [1, rounds_per_epoch].
        None becomes `rounds_per_epoch`, the most there is.
    """

    min_separation: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.min_separation is None:
            object.__setattr__(self, "min_separation", self.rounds_per_epoch)
        if not 1 <= self.min_separation <= self.rounds_per_epoch:
            raise UsageError(
                f"<sampling.min_separation>={self.min_separation} must be "
                f"between 1 and the rounds of an epoch, "
                f"{self.rounds_per_epoch} ({self.num_clients} clients, "
                f"{self.clients_per_round} a round)."
            )

    @property
    def rounds_per_epoch(self) -> int:
        """Rounds in which every client takes part exactly once."""
        return math.ceil(self.num_clients / self.clients_per_round)

    @property
    def rate(self) -> float:
        return 1 / self.rounds_per_epoch

    @property
    def expected_cohort(self) -> float:
        return self.num_clients / self.rounds_per_epoch

    def sample(self, round_num: int, seed: int) -> np.ndarray:
        epoch, position = divmod(round_num - 1, self.rounds_per_epoch)
        # From the last round of a block in one epoch to its first in the next
        # it is rounds_per_epoch - (length - 1) rounds: the separation.
        length = self.rounds_per_epoch - self.min_separation + 1
        first = position - position % length
        slots = min(length, self.rounds_per_epoch - first)
        order = self._generator(0, seed).permutation(self.num_clients)
        bounds = np.arange(self.rounds_per_epoch + 1) * self.num_clients
        bounds //= self.rounds_per_epoch
        block = np.sort(order[bounds[first] : bounds[first + slots]])
        # Blocks of one epoch may share a stream: they share no client.
        block = self._generator(epoch + 1, seed).permutation(block)
        start = bounds[position] - bounds[first]
        stop = bounds[position + 1] - bounds[first]
        return np.sort(block[start:stop]).astype(np.int64)
