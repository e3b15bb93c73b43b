"""What the way of drawing cohorts allows an accountant to assume.

Each sampler justifies one kind of event and no other. `Participation` binds
them: a mechanism asks it for the event of its noise, and a sampler that does
not fit a mechanism is refused with the reason.

    sampler          event of R rounds of noise z            neighbours
    poisson          R x Poisson(rate, Gaussian(z))          add or remove
    full             R x Gaussian(z)                         add or remove
    fixed_size       R x without replacement(Gaussian(z/2))  replace
    shuffled_epochs  ceil(R / rounds_per_epoch) x            zero out
                     Gaussian(z), without amplification

The halved noise: replacing a client moves a sum of vectors of norm at most C by
up to 2 C, and noise multipliers are relative to what one change can move.
"""

import dataclasses
import math
from typing import Any

import dp_accounting

from tff_cnn.core.errors import UsageError

Neighbours = dp_accounting.NeighboringRelation

NEIGHBOURS = {
    Neighbours.ADD_OR_REMOVE_ONE: "add or remove one client with all its "
    "examples",
    Neighbours.REPLACE_ONE: "replace one client with all its examples by any "
    "other; the number of clients is public",
    Neighbours.REPLACE_SPECIAL: "zero out one client: all its updates become "
    "zero, and the others take part as before",
}

_RELATIONS = {
    "poisson": Neighbours.ADD_OR_REMOVE_ONE,
    "full": Neighbours.ADD_OR_REMOVE_ONE,
    "fixed_size": Neighbours.REPLACE_ONE,
    "shuffled_epochs": Neighbours.REPLACE_SPECIAL,
}


@dataclasses.dataclass(frozen=True)
class Participation:
    """How clients come to take part, as far as privacy depends on it.

    Attributes:
      sampling: Name of the sampler.
      rate: Probability that a client takes part in a round, in (0, 1]; 1 for
        "full".
      num_clients: Clients in all; needed by "fixed_size".
      rounds_per_epoch: Needed by "shuffled_epochs", where a client takes part
        exactly once in each run of so many rounds.
      min_separation: Needed by "shuffled_epochs": a client that took part in
        round t takes part again in round t + min_separation at the earliest;
        in [1, rounds_per_epoch].
    """

    sampling: str
    rate: float
    num_clients: int | None = None
    rounds_per_epoch: int | None = None
    min_separation: int | None = None

    def __post_init__(self):
        if self.sampling not in _RELATIONS:
            raise UsageError(
                f"<sampling>={self.sampling} has no privacy accounting: "
                "nothing is known of how its cohorts are drawn; use one of "
                f"{', '.join(_RELATIONS)}."
            )
        if not 0 < self.rate <= 1:
            raise ValueError(f"sampling rate {self.rate}.")
        if self.sampling == "full" and self.rate != 1:
            raise ValueError("full participation has sampling rate 1.")
        if self.sampling == "fixed_size":
            _ = self.cohort
        if self.sampling == "shuffled_epochs" and not (
            self.rounds_per_epoch is not None
            and self.min_separation is not None
            and 1 <= self.min_separation <= self.rounds_per_epoch
        ):
            raise ValueError(
                f"shuffled_epochs with {self.rounds_per_epoch} rounds an epoch "
                f"and separation {self.min_separation}."
            )

    @classmethod
    def of(cls, sampling: str, sampler: Any) -> "Participation":
        """What a sampler of `tff_cnn.selection` justifies.

        Args:
          sampling: Its name.
          sampler: Has `rate` and the attributes of the fields' names.
        """
        return cls(
            sampling,
            sampler.rate,
            sampler.num_clients,
            sampler.rounds_per_epoch,
            sampler.min_separation,
        )

    @property
    def cohort(self) -> int:
        """Clients of a round of "fixed_size".

        Raises:
          ValueError: The rate is not that of a whole number of clients.
        """
        if self.num_clients is None:
            raise ValueError("fixed_size needs num_clients.")
        size = self.rate * self.num_clients
        # The rate is a quotient, rounded: so is the product.
        if not math.isclose(size, round(size), rel_tol=1e-12):
            raise ValueError(f"{size:g} of {self.num_clients} clients.")
        return round(size)

    @property
    def neighbours(self) -> Neighbours:
        """The relation under which the events hold."""
        return _RELATIONS[self.sampling]

    @property
    def is_amplified(self) -> bool:
        """Whether the events assume that nobody knows the cohorts."""
        return self.sampling in ("poisson", "fixed_size")

    def independent_noise(
        self, noise_multiplier: float, rounds: int
    ) -> dp_accounting.DpEvent:
        """`rounds` >= 1 sums, each with Gaussian noise of its own.

        Args:
          noise_multiplier: Noise standard deviation over the norm bound of a
            client's update.
          rounds: Rounds from the start of the run.
        """
        gaussian = dp_accounting.GaussianDpEvent(noise_multiplier)
        event, count = gaussian, rounds
        if self.sampling == "poisson":
            event = dp_accounting.PoissonSampledDpEvent(self.rate, gaussian)
        elif self.sampling == "fixed_size":
            event = dp_accounting.SampledWithoutReplacementDpEvent(
                self.num_clients,
                self.cohort,
                dp_accounting.GaussianDpEvent(noise_multiplier / 2),
            )
        elif self.sampling == "shuffled_epochs":
            count = self.max_participations(rounds)
        return dp_accounting.SelfComposedDpEvent(event, count)

    def max_participations(self, rounds: int) -> int:
        """The most rounds of the first `rounds` that a client can be in."""
        if self.sampling == "shuffled_epochs":
            return math.ceil(rounds / self.rounds_per_epoch)
        return rounds

    def fixed_separation(self, mechanism: str) -> int:
        """Rounds between two participations, for noise that needs a bound.

        Args:
          mechanism: Value of <dp>, for the message.

        Raises:
          UsageError: The sampler bounds no separation, or its event assumes
            noise that is independent from round to round.
        """
        check_separated(self.sampling, mechanism)
        return 1 if self.sampling == "full" else self.min_separation

    def statement(self) -> str:
        """The sampling assumption in words."""
        if self.sampling == "full":
            return "every client in every round"
        if self.sampling == "poisson":
            return f"Poisson with rate {self.rate:g}; the cohorts are secret"
        if self.sampling == "fixed_size":
            return (
                f"{self.cohort} of {self.num_clients} clients, uniformly "
                "without replacement; the cohorts are secret"
            )
        return (
            f"epochs of {self.rounds_per_epoch} rounds, each client in one of "
            f"them and at least {self.min_separation} rounds apart; no "
            "amplification, the cohorts may be known"
        )


def check_separated(sampling: str, mechanism: str) -> None:
    """Refuses samplers that do not bound how close a client's rounds are.

    Args:
      sampling: Value of <sampling>.
      mechanism: Value of <dp>.

    Raises:
      UsageError: The sampler is none of shuffled_epochs and full.
    """
    if sampling not in ("shuffled_epochs", "full"):
        raise UsageError(
            f"<sampling>={sampling} does not fit <dp>={mechanism}: its noise "
            "is correlated over rounds, so the accounting needs to know how "
            "far apart a client's rounds are, and random cohorts leave that "
            "open; use <sampling>=shuffled_epochs."
        )
