"""Epsilon from events, by `dp_accounting`; and the ledger of a run."""

import dataclasses

import dp_accounting
from dp_accounting import pld

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy.mechanism import FixedClipGaussian

# The accountant rounds privacy losses up to multiples of this, so a coarser
# grid can only overstate epsilon. At 1e-3 that is below 0.1 % in the ranges of
# use (tests/privacy/accounting_test.py) and ten times as fast as the default.
_LOSS_INTERVAL = 1e-3

UNIT = "client"
NEIGHBOURS = "add or remove one client with all its examples"


def new_accountant() -> dp_accounting.PrivacyAccountant:
    """A PLD accountant (Koskela et al. 2020; Doroshenko et al. 2022)."""
    return pld.PLDAccountant(
        dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
        value_discretization_interval=_LOSS_INTERVAL,
    )


def epsilon(
    round_event: dp_accounting.DpEvent, rounds: int, delta: float
) -> float:
    """Epsilon at `delta` after `rounds` independent rounds; 0 after none.

    Raises:
      dp_accounting.UnsupportedEventError: The accountant has no rule for it.
    """
    if rounds == 0:
        return 0.0
    return float(
        new_accountant().compose(round_event, rounds).get_epsilon(delta)
    )


def check_delta(delta: float, num_clients: int) -> None:
    """Refuses a delta at which a guarantee for `num_clients` says nothing."""
    if not 0 < delta < 1 / num_clients:
        raise UsageError(
            f"--dp_delta={delta:g} must be positive and below 1/num_clients = "
            f"{1 / num_clients:.3g}: a mechanism that publishes one client at "
            "random satisfies anything weaker."
        )


@dataclasses.dataclass
class Ledger:
    """What a run has spent.

    Attributes:
      mechanism: The very object that configured the aggregator.
      delta: In (0, 1).
      rounds: Rounds released so far. Empty cohorts count: their noise is
        released all the same.
    """

    mechanism: FixedClipGaussian
    delta: float
    rounds: int = 0

    def spend_round(self) -> float:
        """Counts one more round and returns epsilon so far."""
        self.rounds += 1
        return self.epsilon()

    def epsilon(self) -> float:
        return epsilon(self.mechanism.round_event(), self.rounds, self.delta)

    def statement(self) -> dict[str, object]:
        """The guarantee with all that it needs in order to mean anything."""
        return {
            "epsilon": self.epsilon(),
            "delta": self.delta,
            "unit": UNIT,
            "neighbouring_relation": NEIGHBOURS,
            "trust": "the server sees raw updates; the released models protect",
            "sampling": (
                "every client in every round"
                if self.mechanism.sampling == "full"
                else f"Poisson with rate {self.mechanism.sampling_rate:g}; the "
                "cohorts, and so the seed, are secret"
            ),
            "mechanism": {
                "name": type(self.mechanism).__name__,
                **dataclasses.asdict(self.mechanism),
            },
            "rounds": self.rounds,
            "accountant": "PLD (dp_accounting), pessimistic rounding",
        }
