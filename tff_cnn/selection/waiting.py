"""Whom the server waits for in a synchronous round, and for how long.

Bonawitz et al. 2019 ("Towards Federated Learning at Scale: System Design",
section 2.2): more clients are selected than are needed, and who comes after
enough others, or after the deadline, is left out of the round. There a round is
abandoned that too few have come for; here it is made of those that have.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Waiting:
    """A server that waits for a while.

    Attributes:
      seconds: (client, round) -> simulated seconds until its update is there.
      enough: Updates after which it waits no longer, >= 1; None is all.
      deadline: Simulated seconds after which it waits no longer, > 0; an
        update that comes at this very moment still counts.
    """

    seconds: Callable[[int, int], float]
    enough: int | None = None
    deadline: float = math.inf

    def keep(self, round_num: int, selected: Sequence[int]) -> np.ndarray:
        """Whose updates are waited for: sorted ids, int64.

        Of two that come at once the lower id is the first.

        Args:
          round_num: From 1.
          selected: Distinct ids of the clients that were asked.
        """
        times = self._times(round_num, selected)
        in_time = [pair for pair in times if pair[0] <= self.deadline]
        return np.sort([c for _, c in in_time[: self.enough]]).astype(np.int64)

    def duration(self, round_num: int, selected: Sequence[int]) -> float:
        """Simulated seconds of the round.

        Until the last update that is waited for has come; or until the
        deadline, where that is what ends the waiting. Nobody is waited for
        where nobody was asked.
        """
        times = self._times(round_num, selected)[: self.enough]
        return min(times[-1][0], self.deadline) if times else 0.0

    def _times(self, round_num, selected) -> list[tuple[float, int]]:
        """(seconds, client) in the order in which they come."""
        clients = map(int, selected)
        return sorted((self.seconds(c, round_num), c) for c in clients)
