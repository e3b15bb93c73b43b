"""What is said of each stage at which noise enters, and of all together.

A stage has a guarantee of its own: its unit, its adversary and its neighbours
differ from those of the others, so epsilons of two stages are never added.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import dp_accounting

from tff_cnn.privacy import accounting
from tff_cnn.privacy.participation import Neighbours


@dataclasses.dataclass(frozen=True)
class StageReport:
    """The guarantee of one stage with all that it needs to mean anything.

    Attributes:
      stage: Where noise enters: "local_training", "client_update",
        "aggregation" or "release".
      unit: Whose data is protected: "client" or "example".
      adversary: Against whom.
      neighbouring_relation: Which two data sets are hard to tell apart.
      sampling: What is assumed of how often the unit takes part.
      mechanism: As JSON; `ledger.describe`.
      rounds: Rounds so far.
      delta: In (0, 1).
      epsilon: By the tighter of the two; 0 before the first round.
      epsilon_pld: By privacy loss distributions; None without a rule.
      epsilon_rdp: By Renyi differential privacy; None without a rule.
      combination: One sentence on what it may be combined with.
    """

    stage: str
    unit: str
    adversary: str
    neighbouring_relation: str
    sampling: str
    mechanism: dict[str, Any]
    rounds: int
    delta: float
    epsilon: float
    epsilon_pld: float | None
    epsilon_rdp: float | None
    combination: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return dataclasses.asdict(self)

    def sentence(self) -> str:
        """The same in one sentence, without the mechanism."""
        accountants = "by RDP; PLD has no rule for it"
        if self.epsilon_pld is not None and self.epsilon_rdp is not None:
            accountants = f"by PLD; {self.epsilon_rdp:.2f} by RDP"
        elif self.epsilon_pld is not None:
            accountants = "by PLD; RDP has no rule for it"
        return (
            f"(epsilon {self.epsilon:.2f}, delta {self.delta:.2g}) for each "
            f"{self.unit}, against {self.adversary}; epsilon {accountants}; "
            f"neighbours: {self.neighbouring_relation}; "
            f"sampling: {self.sampling}."
        )


def report(
    event: dp_accounting.DpEvent,
    neighbours: Neighbours,
    delta: float,
    **statements: Any,
) -> StageReport:
    """The report of what `event` costs.

    Args:
      event: Of all rounds so far.
      neighbours: Relation under which the event holds.
      delta: In (0, 1).
      **statements: The fields of `StageReport` that are not computed here.

    Raises:
      dp_accounting.UnsupportedEventError: No accountant has a rule for it.
    """
    both = accounting.epsilons(event, delta, neighbours)
    found = [epsilon for epsilon in both.values() if epsilon is not None]
    if not found:
        raise dp_accounting.UnsupportedEventError(f"no rule for {event}.")
    tightest = both["rdp"] if both["pld"] is None else both["pld"]
    return StageReport(
        delta=delta,
        epsilon=tightest,
        epsilon_pld=both["pld"],
        epsilon_rdp=both["rdp"],
        **statements,
    )


def combined(reports: Sequence[StageReport]) -> str:
    """One paragraph for people: the guarantees of all stages."""
    if len(reports) == 1:
        return reports[0].sentence()
    return " ".join(f"[{each.stage}] {each.sentence()}" for each in reports)
