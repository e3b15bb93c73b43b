"""What was released in all: the rounds of a run, and those of its branches.

A run that is continued from an earlier round than the last one it released
releases rounds anew. The rounds that were released before are an abandoned
branch: whoever saw them has seen them, and they are paid for like all others.

Assumed is that a branch and what replaces it have

- noise of their own (what is released again bit by bit costs nothing and is no
  branch): no noise that was drawn before they parted is used by both, unless
  on equal sums;
- where the accounting is amplified (poisson, fixed_size), cohorts of their own:
  the same secret cohort twice is one draw, and costs more than two;
- with shuffled_epochs, the cohorts that the sampler deals to these rounds in
  either, so that a client's rounds along every path from round 1 are as far
  apart, and as few, as the sampler promises.

Why the events below are enough, for a branch of rounds first, ..., last:

*Noise that is fresh in every round, cohorts that are drawn for each round
anew, or that everybody is in.* Every round is a mechanism of its own, given
those released before, so a run costs as much as its rounds are many, whatever
they continue from (adaptive composition).

*Noise that is fresh in every round, epochs.* A client is in one round of an
epoch, so it is in a branch as often as the branch touches epochs: as in so many
rounds from the start of the first of these epochs.

*Correlated noise.* Let x be the sums of the rounds of one path, x' those of
another with the same first rounds (`tff_cnn.privacy.factorization`). The first
releases functions of C x + z. The second releases those of C x' + z' from round
`first` on, and before it what the first has released. So together they are one
Gaussian mechanism: the rows of C x, and below them rows first to last of C x',
with independent noise each (rounds in the order of their release; its noise may
be chosen in advance, as in Denisov et al. 2022, Theorem 2.1, because what a row
adds depends on earlier rows only). What one client moves, squared, is the sum
of what it moves in the first rows, at most the squared sensitivity of C over
the rounds of x, and of what it moves in the others, a part of the rows of C x'
and so at most that of C over `last` rounds. That is what the composition of the
two events counts. It is an upper bound: it pays for the common rounds twice.
The same holds for more branches, also of branches.

*Trees.* tensorflow_privacy draws the nodes of a round at the end of the round
before, so that a continuation of the same state would use them again. A branch
therefore begins a new tree (`with_new_tree` in `aggregators.correlated`): the
rows of the two trees are independent, and a tree over the rounds from `first`
on, which clients enter as far apart as before, costs no more than one from
round 1.
"""

import dataclasses
from typing import Protocol

import dp_accounting

from tff_cnn.privacy.correlated import CorrelatedMechanism
from tff_cnn.privacy.participation import Participation


class Releases(Protocol):
    """A mechanism of any stage, as far as its costs are concerned."""

    participation: Participation

    def events_after(self, rounds: int) -> tuple[dp_accounting.DpEvent, ...]:
        """What the first `rounds` >= 1 rounds cost."""


@dataclasses.dataclass(frozen=True)
class History:
    """The rounds that were released.

    Attributes:
      rounds: Of the path that is continued, >= 0.
      abandoned: (first, last) rounds, from 1 and inclusive, of each branch that
        was released and then left: the run was continued after round first - 1
        with new noise.
    """

    rounds: int
    abandoned: tuple[tuple[int, int], ...] = ()

    def __post_init__(self):
        # JSON has lists only.
        abandoned = tuple((first, last) for first, last in self.abandoned)
        object.__setattr__(self, "abandoned", abandoned)
        if self.rounds < 0 or any(
            not 1 <= first <= last for first, last in abandoned
        ):
            raise ValueError(f"{self.rounds} rounds with branches {abandoned}.")

    @property
    def repeated(self) -> int:
        """Rounds in abandoned branches."""
        return sum(last - first + 1 for first, last in self.abandoned)

    @property
    def released(self) -> int:
        """Rounds in all."""
        return self.rounds + self.repeated

    def events(self, mechanism: Releases) -> tuple[dp_accounting.DpEvent, ...]:
        """What all of them cost together.

        Returns:
          As many events as `mechanism.events_after` gives, in its order; see
          the module for why they are enough.
        """
        if _rounds_add_up(mechanism):
            paths = [self.released]
        else:
            branches = [_rounds_paid(mechanism, *b) for b in self.abandoned]
            paths = [self.rounds, *branches]
        costs = [mechanism.events_after(path) for path in paths if path]
        if not costs:
            free = dp_accounting.NoOpDpEvent()
            return (free,) * len(mechanism.events_after(1))
        if len(costs) == 1:
            return costs[0]
        return tuple(
            dp_accounting.ComposedDpEvent(list(parts))
            for parts in zip(*costs, strict=True)
        )


def _rounds_add_up(mechanism: Releases) -> bool:
    """Whether n rounds cost the same whatever rounds they are."""
    return (
        not isinstance(mechanism, CorrelatedMechanism)
        and mechanism.participation.sampling != "shuffled_epochs"
    )


def _rounds_paid(mechanism: Releases, first: int, last: int) -> int:
    """Rounds from the start of a run that cost what a branch costs at most."""
    if isinstance(mechanism, CorrelatedMechanism):
        return last
    per_epoch = mechanism.participation.rounds_per_epoch
    return last - (first - 1) // per_epoch * per_epoch
