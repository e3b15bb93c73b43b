"""What a run has spent, what that guarantees, and when it must stop."""

import dataclasses
import functools
from typing import Any

import dp_accounting

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting, stages
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.privacy.participation import NEIGHBOURS

UNIT = "client"
COMBINATION = (
    "Noise that is added to the released models on top of this is "
    "post-processing and lowers no epsilon; noise that clients add to their "
    "own updates or examples has a unit and an epsilon of its own, which is "
    "stated beside this one and not added to it."
)


@dataclasses.dataclass
class Ledger:
    """What a run has spent.

    Attributes:
      mechanism: The very object that configured the aggregator.
      delta: In (0, 1).
      rounds: Rounds released so far. Empty cohorts count: their noise is
        released all the same.
      epsilon_limit: What the run must not cross, > 0; None is no limit.
    """

    mechanism: CentralMechanism
    delta: float
    rounds: int = 0
    epsilon_limit: float | None = None

    def spend_round(self) -> float:
        """Counts one more round and returns epsilon so far.

        Raises:
          UsageError: It would cross the limit; it is not counted.
        """
        self.check_next_round()
        self.rounds += 1
        return self.epsilon()

    def allows_next_round(self) -> bool:
        """Whether one more round stays within the limit."""
        return (
            self.epsilon_limit is None
            or self.epsilon_after(self.rounds + 1) <= self.epsilon_limit
        )

    def check_next_round(self) -> None:
        """Raises `UsageError` where one more round would cross the limit."""
        if not self.allows_next_round():
            raise UsageError(
                f"round {self.rounds + 1} would spend epsilon "
                f"{self.epsilon_after(self.rounds + 1):.4g}, more than "
                f"--dp_epsilon={self.epsilon_limit:g}: use more noise, fewer "
                "rounds or a larger epsilon."
            )

    def event_after(self, rounds: int) -> dp_accounting.DpEvent:
        """All that the first `rounds` rounds release, as one event."""
        if rounds == 0:
            return dp_accounting.NoOpDpEvent()
        return self.mechanism.event_after(rounds)

    def epsilon_after(self, rounds: int) -> float:
        """Epsilon of the first `rounds` rounds."""
        return _epsilon_after(self.mechanism, self.delta, rounds)

    def epsilon(self) -> float:
        """Epsilon so far, by the tightest accountant; 0 before the start."""
        return self.epsilon_after(self.rounds)

    def report(self) -> stages.StageReport:
        """The guarantee with all that it needs in order to mean anything."""
        mechanism = self.mechanism
        return stages.report(
            self.event_after(self.rounds),
            mechanism.neighbours,
            self.delta,
            stage=mechanism.stage,
            unit=UNIT,
            adversary=mechanism.adversary,
            neighbouring_relation=NEIGHBOURS[mechanism.neighbours],
            sampling=mechanism.sampling_statement(),
            mechanism=describe(mechanism),
            rounds=self.rounds,
            combination=COMBINATION,
        )

    def statement(self) -> dict[str, Any]:
        """The same as JSON."""
        return self.report().to_dict()

    def to_state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {
            "rounds": self.rounds,
            "delta": self.delta,
            "mechanism": describe(self.mechanism),
        }

    def restore(self, state: dict[str, Any], round_num: int) -> None:
        """Continues from `to_state` of the same run after `round_num` rounds.

        Raises:
          ValueError: It is of another mechanism, delta or number of rounds, so
            that what was spent is not known.
        """
        expected = {**self.to_state(), "rounds": round_num}
        for key, value in expected.items():
            if state.get(key) != value:
                raise ValueError(
                    f"its ledger has {key} {state.get(key)}, not {value}"
                )
        self.rounds = round_num


def describe(mechanism: CentralMechanism) -> dict[str, Any]:
    """A mechanism as JSON: its class and its fields."""
    return {
        "name": type(mechanism).__name__,
        **dataclasses.asdict(mechanism),
    }


@functools.lru_cache(maxsize=4096)
def _epsilon_after(
    mechanism: CentralMechanism, delta: float, rounds: int
) -> float:
    """Cached: each round asks for its own epsilon and for the next one's."""
    if rounds == 0:
        return 0.0
    return accounting.epsilon(
        mechanism.event_after(rounds), delta, mechanism.neighbours
    )
