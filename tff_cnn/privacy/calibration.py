"""The noise that a target epsilon needs."""

from collections.abc import Callable

import dp_accounting

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting
from tff_cnn.privacy.ledger import Mechanism

_TOLERANCE = 1e-4


def noise_multiplier(
    make_mechanism: Callable[[float], Mechanism],
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
    trial = make_mechanism(1.0)
    flag = f"--{trial.prefix}_epsilon={target_epsilon:g}"
    if not target_epsilon > 0:
        raise UsageError(f"{flag} must be positive.")

    def event(noise: float, index: int) -> dp_accounting.DpEvent:
        return make_mechanism(noise).events_after(rounds)[index]

    def least(index: int) -> float:
        of_trial = event(1.0, index)
        return dp_accounting.calibrate_dp_mechanism(
            lambda: accounting.new_accountant(of_trial, trial.neighbours),
            lambda noise: event(noise, index),
            target_epsilon,
            delta,
            bracket_interval=dp_accounting.LowerEndpointAndGuess(0.1, 1.0),
            tol=_TOLERANCE,
        )

    found = 0.0
    try:
        for index in range(len(trial.events_after(rounds))):
            if not found or target_epsilon < accounting.epsilon(
                event(found, index), delta, trial.neighbours
            ):
                found = float(least(index))
        return found
    except dp_accounting.mechanism_calibration.NoBracketIntervalFoundError as e:
        raise UsageError(
            f"{flag} at delta {delta:.3g} over {rounds} rounds is out of reach "
            "for noise multipliers above 0.1: use a larger epsilon, fewer "
            "rounds or fewer clients per round."
        ) from e
