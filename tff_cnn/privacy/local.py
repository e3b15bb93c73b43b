"""Frozen descriptions of mechanisms within a client's local training.

As with the central ones (`tff_cnn.privacy.mechanism`), one object configures
both the training that adds the noise (`tff_cnn.algorithms.dp_sgd`) and the
accountant that counts it.
"""

import dataclasses
import math
from collections.abc import Sequence

import dp_accounting

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy.mechanism import check_positive
from tff_cnn.privacy.participation import Neighbours, Participation


@dataclasses.dataclass(frozen=True)
class ExampleDpSgd:
    """Example-level DP-SGD in every client (Abadi et al. 2016, Algorithm 1).

    A local step of a client with n examples draws each of them with
    probability q = min(1, expected_lot / n) and releases (sum of clipped
    gradients + N(0, (clip_norm * noise_multiplier)^2 I)) / expected_lot; a
    pass over its examples is ceil(n / expected_lot) steps. Clients hold
    disjoint examples, so an example is in the events of one client only, and
    the guarantee is that of the worst client. A client may be in every round
    that its sampler allows: no amplification by the sampling of clients is
    counted, because one choice holds for all steps of a round.

    Attributes:
      clip_norm: L2 bound of an example's gradient, > 0: the sensitivity of the
        sum to adding or removing one example.
      noise_multiplier: Noise standard deviation over `clip_norm`, > 0.
      expected_lot: Examples that a step draws on average, >= 1 (of a client
        that has so many); the divisor of the mean.
      epochs: Passes over its examples that a client takes in a round, >= 1.
      client_sizes: Numbers of examples of the clients, increasing; public. Of
        clients with equally many steps the smallest is enough
        (`deciding_sizes`), for its q is the largest.
      participation: How clients come to take part. Its rate is not used.
    """

    clip_norm: float
    noise_multiplier: float
    expected_lot: int
    epochs: int
    client_sizes: tuple[int, ...]
    participation: Participation

    stage = "local training"  # Where noise enters; for the ledger.
    prefix = "local"  # See `privacy.Stage`.
    choice = "example_dp"
    combination = (
        "Noise that is added to updates or models later is post-processing "
        "for this stage and lowers no epsilon of it; guarantees of other "
        "stages have another unit or adversary, are stated beside this one "
        "and are not added to it."
    )
    is_repeatable = True  # See `CentralMechanism`.
    unit = "example"
    adversary = (
        "whoever sees the updates that clients upload or any model, the "
        "server included, but not the client that holds the example"
    )
    neighbouring_relation = (
        "add or remove one example of one client; how many examples each "
        "client holds is public"
    )
    neighbours = Neighbours.ADD_OR_REMOVE_ONE

    def __post_init__(self):
        check_positive("<example_dp.clip_norm>", self.clip_norm)
        check_positive("<example_dp.noise_multiplier>", self.noise_multiplier)
        if self.expected_lot < 1 or self.epochs < 1:
            raise ValueError(f"lot {self.expected_lot}, epochs {self.epochs}.")
        # JSON has lists only.
        object.__setattr__(self, "client_sizes", tuple(self.client_sizes))
        if not self.client_sizes or min(self.client_sizes) < 1:
            raise UsageError(
                "no client has any example: use fewer <num_clients>."
            )

    def events_after(self, rounds: int) -> tuple[dp_accounting.DpEvent, ...]:
        """What the first `rounds` >= 1 rounds cost: one event a client size.

        An example is in one of them, so they are not composed.
        """
        times = self.participation.max_participations(rounds)
        return tuple(self._event(size, times) for size in self.client_sizes)

    def _event(self, size: int, times: int) -> dp_accounting.DpEvent:
        event = dp_accounting.GaussianDpEvent(self.noise_multiplier)
        rate = min(1.0, self.expected_lot / size)
        if rate < 1:
            event = dp_accounting.PoissonSampledDpEvent(rate, event)
        steps = self.epochs * math.ceil(size / self.expected_lot)
        return dp_accounting.SelfComposedDpEvent(event, steps * times)

    def sampling_statement(self) -> str:
        """The sampling assumption in words."""
        return (
            f"in each local step Poisson with an expected {self.expected_lot} "
            "examples; which were drawn, and so the seed of the local "
            "training, is secret; a client may take part as often as its "
            f"sampler ({self.participation.sampling}) allows"
        )


def deciding_sizes(sizes: Sequence[int], expected_lot: int) -> tuple[int, ...]:
    """The numbers of examples that decide the epsilon of the worst client.

    Of clients that take equally many steps, that with the fewest examples
    draws each of them most often. Clients without examples have none to
    protect.
    """
    smallest: dict[int, int] = {}
    for size in sizes:
        if size > 0:
            steps = math.ceil(size / expected_lot)
            smallest[steps] = min(size, smallest.get(steps, size))
    return tuple(sorted(smallest.values()))
