"""The noise that a target epsilon needs."""

import functools
from collections.abc import Callable

from scipy import optimize

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting, loss_distributions
from tff_cnn.privacy.ledger import Mechanism

_TOLERANCE = 1e-4
# Where noise multipliers are looked for.
_LOWEST, _HIGHEST = 0.1, 1e4


def noise_multiplier(
    make_mechanism: Callable[[float], Mechanism],
    target_epsilon: float,
    delta: float,
    rounds: int,
) -> float:
    """The smallest noise multiplier (to 1e-4) with epsilon <= target.

    By `accounting.fast_epsilon`: the ledger, which asks for the smallest of all
    accountants, finds as much or less, and allows all rounds.

    Args:
      make_mechanism: noise multiplier -> mechanism.
      target_epsilon: > 0.
      delta: In (0, 1).
      rounds: Rounds to be released, >= 1.

    Raises:
      UsageError: The noise multiplier would be below 0.1 or above 1e4.
    """
    trial = make_mechanism(1.0)
    shown = f"<{trial.choice}.epsilon>={target_epsilon:g}"
    if not target_epsilon > 0:
        raise UsageError(f"{shown} must be positive.")

    found = 0.0
    for index in range(len(trial.events_after(rounds))):

        def epsilon_of(noise: float, index: int = index, **options) -> float:
            event = make_mechanism(noise).events_after(rounds)[index]
            return accounting.fast_epsilon(
                event, delta, trial.neighbours, **options
            )

        if found and epsilon_of(found) <= target_epsilon:
            continue
        found = _least(epsilon_of, target_epsilon)
        if found is None:
            raise UsageError(
                f"{shown} at delta {delta:.3g} over {rounds} rounds is out of "
                f"reach for noise multipliers from {_LOWEST:g} to {_HIGHEST:g}:"
                " use another epsilon, fewer rounds or fewer clients per round."
            )
    return found


def _least(
    epsilon_of: Callable[..., float], target_epsilon: float
) -> float | None:
    """The least noise that is enough; None if none between the limits is.

    A coarse accountant looks for it first: fine ones may take seconds. Epsilon
    is nearly linear in the inverse of noise.
    """

    def rough_gap(inverse):
        spent = epsilon_of(1 / inverse, fineness=loss_distributions.COARSE)
        return spent - target_epsilon

    most = 1.0
    while rough_gap(most) <= 0:
        most *= 2
        if most > 1 / _LOWEST:
            return None
    if rough_gap(1 / _HIGHEST) > 0:
        return None
    guess = 1 / optimize.brentq(rough_gap, 1 / _HIGHEST, most, rtol=1e-4)

    @functools.cache
    def gap(noise):
        return epsilon_of(noise) - target_epsilon

    low = high = guess
    while gap(low) <= 0:
        low *= 0.98
    while gap(high) > 0:
        high *= 1.02
    noise = optimize.brentq(gap, low, high, xtol=_TOLERANCE / 4)
    while gap(noise) > 0:
        noise += _TOLERANCE / 4
    return noise
