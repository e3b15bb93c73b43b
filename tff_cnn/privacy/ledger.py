"""What a run has spent, what that guarantees, and when it must stop."""

import dataclasses
import functools
import math
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting
from tff_cnn.privacy.descriptions import describe, nested
from tff_cnn.privacy.history import History
from tff_cnn.privacy.local import ExampleDpSgd
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.privacy.randomizers import LocalRandomizer

Mechanism = CentralMechanism | LocalRandomizer | ExampleDpSgd


@dataclasses.dataclass
class Ledger:
    """What a run has spent at one stage.

    Attributes:
      mechanism: The very object that configured the noise.
      delta: In (0, 1).
      rounds: Rounds released so far, without abandoned ones. Empty cohorts
        count: their noise is released all the same.
      epsilon_limit: What the run must not cross, > 0; None is no limit.
      abandoned: Rounds that were released, and then released anew: see
        `History`. They count in every epsilon. Checkpoints do not hold them,
        for the newest branch is left by loading one that does not know of it.
    """

    mechanism: Mechanism
    delta: float
    rounds: int = 0
    epsilon_limit: float | None = None
    abandoned: tuple[tuple[int, int], ...] = ()

    @property
    def stages(self) -> list["Ledger"]:
        """This ledger alone, as a `StagedLedger` has its ledgers."""
        return [self]

    @property
    def history(self) -> History:
        """All that was released."""
        return History(self.rounds, self.abandoned)

    def abandon(self, first: int, last: int) -> None:
        """Counts rounds first to last, from 1, of a branch that was left."""
        branches = (*self.abandoned, (first, last))
        self.abandoned = History(self.rounds, branches).abandoned

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
                f"<{self.mechanism.choice}.epsilon>={self.epsilon_limit:g}: "
                "use more noise, fewer rounds or a larger epsilon."
            )

    def epsilon_after(self, rounds: int) -> float:
        """Epsilon of the first `rounds` rounds and of the abandoned ones."""
        history = History(rounds, self.abandoned)
        return _epsilon_of(self.mechanism, self.delta, history)

    def epsilon(self) -> float:
        """Epsilon so far, by the tightest accountant; 0 before the start."""
        return self.epsilon_after(self.rounds)

    def statement(self) -> dict[str, Any]:
        """The guarantee with all that it needs in order to mean anything."""
        mechanism, history = self.mechanism, self.history
        pld, rdp = _by_accountant(mechanism, self.delta, history)
        return {
            "epsilon": self.epsilon(),
            "epsilon_pld": pld,
            "epsilon_rdp": rdp,
            "delta": self.delta,
            "stage": mechanism.stage,
            "unit": mechanism.unit,
            "adversary": mechanism.adversary,
            "neighbouring_relation": mechanism.neighbouring_relation,
            "sampling": mechanism.sampling_statement(),
            "mechanism": describe(mechanism),
            "rounds": history.released,
            "rounds_repeated": history.repeated,
            "combination": mechanism.combination,
        }

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
        found = {**state, "mechanism": nested(state.get("mechanism", {}))}
        expected = {**self.to_state(), "rounds": round_num}
        for key, value in expected.items():
            if not _is_equal(found.get(key), value):
                raise ValueError(
                    f"its ledger has {key} {found.get(key)}, not {value}"
                )
        self.rounds = round_num


@dataclasses.dataclass
class StagedLedger:
    """The ledgers of a run's stages, spent together.

    Their epsilons are of different units or adversaries: they are stated side
    by side and never added up. The first stage is the one that stands for the
    run where there is room for one.
    """

    stages: list[Ledger]

    @property
    def delta(self) -> float:
        return self.stages[0].delta

    def of(self, choice: str) -> Ledger | None:
        """The ledger of a stage (`privacy.Stage.choice`), if the run has it."""
        found = (s for s in self.stages if s.mechanism.choice == choice)
        return next(found, None)

    def spend_round(self) -> float:
        """Counts one more round at all stages; epsilon of the first.

        Raises:
          UsageError: It would cross a limit; it is counted at none.
        """
        for ledger in self.stages:
            ledger.check_next_round()
        first, *_ = [ledger.spend_round() for ledger in self.stages]
        return first

    def abandon(self, first: int, last: int) -> None:
        """Counts rounds first to last of a branch that was left, in all."""
        for ledger in self.stages:
            ledger.abandon(first, last)

    def allows_next_round(self) -> bool:
        """Whether one more round stays within all limits."""
        return all(ledger.allows_next_round() for ledger in self.stages)

    def to_state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {"stages": [ledger.to_state() for ledger in self.stages]}

    def restore(self, state: dict[str, Any], round_num: int) -> None:
        """Continues all stages from `to_state` after `round_num` rounds.

        Raises:
          ValueError: It is of other stages, or of another run.
        """
        states = state.get("stages", [])
        if len(states) != len(self.stages):
            raise ValueError(
                f"its ledger has {len(states)} stages, not {len(self.stages)}"
            )
        for ledger, saved in zip(self.stages, states, strict=True):
            ledger.restore(saved, round_num)


def _is_equal(one: Any, other: Any) -> bool:
    """Whether values from JSON are equal, up to how floats were rounded."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _is_equal(one[key], other[key]) for key in one
        )
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12)
    return one == other


@functools.lru_cache(maxsize=4096)
def _epsilon_of(mechanism: Mechanism, delta: float, history: History) -> float:
    """Cached: each round asks for its own epsilon and for the next one's."""
    return max(
        accounting.epsilon(event, delta, mechanism.neighbours)
        for event in history.events(mechanism)
    )


def _by_accountant(
    mechanism: Mechanism, delta: float, history: History
) -> tuple[float | None, float | None]:
    """Epsilon by PLD and by RDP; None where one has no rule."""
    found = [
        accounting.epsilons(event, delta, mechanism.neighbours)
        for event in history.events(mechanism)
    ]
    pld, rdp = ([f[name] for f in found] for name in ("pld", "rdp"))
    return (
        None if None in pld else max(pld),
        None if None in rdp else max(rdp),
    )
