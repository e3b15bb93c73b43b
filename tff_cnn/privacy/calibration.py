"""The noise that a target epsilon needs."""

from collections.abc import Callable

import dp_accounting

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting
from tff_cnn.privacy.mechanism import CentralMechanism

_TOLERANCE = 1e-4


def noise_multiplier(
    make_mechanism: Callable[[float], CentralMechanism],
    target_epsilon: float,
    delta: float,
    rounds: int,
) -> float:
    """The smallest noise multiplier (to 1e-4) with epsilon <= target.

    Args:
      make_mechanism: noise multiplier -> mechanism.
      target_epsilon: > 0.
      delta: In (0, 1).
      rounds: Rounds to be released, >= 1.

    Raises:
      UsageError: No noise multiplier below 1e4 is enough.
    """
    if not target_epsilon > 0:
        raise UsageError(f"--dp_epsilon={target_epsilon:g} must be positive.")

    def event(noise: float) -> dp_accounting.DpEvent:
        return make_mechanism(noise).event_after(rounds)

    trial = make_mechanism(1.0)

    def new_accountant():
        return accounting.new_accountant(
            trial.event_after(rounds), trial.neighbours
        )

    try:
        return float(
            dp_accounting.calibrate_dp_mechanism(
                new_accountant,
                event,
                target_epsilon,
                delta,
                bracket_interval=dp_accounting.LowerEndpointAndGuess(0.1, 1.0),
                tol=_TOLERANCE,
            )
        )
    except dp_accounting.mechanism_calibration.NoBracketIntervalFoundError as e:
        raise UsageError(
            f"--dp_epsilon={target_epsilon:g} at delta {delta:.3g} over "
            f"{rounds} rounds is out of reach for noise multipliers above 0.1: "
            "use a larger epsilon, fewer rounds or fewer clients per round."
        ) from e
