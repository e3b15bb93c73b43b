"""Epsilon from events, by the accountants of `dp_accounting`."""

import functools

import dp_accounting
import numpy as np
from dp_accounting import pld, rdp

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy.events import RenyiDpEvent
from tff_cnn.privacy.participation import Neighbours

# The accountant rounds privacy losses up to multiples of this, so a coarser
# grid can only overstate epsilon. At 1e-3 that is below 0.1 % in the ranges of
# use (tests/privacy/accounting_test.py) and ten times as fast as the default.
_LOSS_INTERVAL = 1e-3

ADD_OR_REMOVE = Neighbours.ADD_OR_REMOVE_ONE


def pld_accountant(
    neighbours: Neighbours = ADD_OR_REMOVE,
    loss_interval: float = _LOSS_INTERVAL,
):
    """Privacy loss distributions (Koskela 2020; Doroshenko 2022); tight."""
    return pld.PLDAccountant(
        neighbours, value_discretization_interval=loss_interval
    )


def rdp_accountant(neighbours: Neighbours = ADD_OR_REMOVE):
    """Renyi differential privacy (Mironov 2017); never below the truth."""
    return _RdpAccountant(neighboring_relation=neighbours)


def new_accountant(
    event: dp_accounting.DpEvent,
    neighbours: Neighbours = ADD_OR_REMOVE,
    loss_interval: float = _LOSS_INTERVAL,
) -> dp_accounting.PrivacyAccountant:
    """The tightest accountant that has a rule for `event`: PLD, else RDP.

    Args:
      event: To be counted.
      neighbours: What it is told apart from.
      loss_interval: Of PLD; larger is faster and less tight.

    Raises:
      dp_accounting.UnsupportedEventError: None has.
    """
    for accountant in (
        pld_accountant(neighbours, loss_interval),
        rdp_accountant(neighbours),
    ):
        if accountant.supports(event):
            return accountant
    raise dp_accounting.UnsupportedEventError(
        f"no accountant has a rule for {event} with neighbours that "
        f"{neighbours.name.lower()}."
    )


def epsilon(
    event: dp_accounting.DpEvent,
    delta: float,
    neighbours: Neighbours = ADD_OR_REMOVE,
    loss_interval: float = _LOSS_INTERVAL,
) -> float:
    """Epsilon of `event` at `delta`, by the tightest accountant.

    Raises:
      dp_accounting.UnsupportedEventError: No accountant has a rule for it.
    """
    accountant = new_accountant(event, neighbours, loss_interval)
    return float(accountant.compose(event).get_epsilon(delta))


def epsilons(
    event: dp_accounting.DpEvent,
    delta: float,
    neighbours: Neighbours = ADD_OR_REMOVE,
) -> dict[str, float | None]:
    """Epsilon by "pld" and by "rdp"; None where one has no rule for `event`."""
    result = {}
    for name, accountant in (
        ("pld", pld_accountant(neighbours)),
        ("rdp", rdp_accountant(neighbours)),
    ):
        result[name] = None
        if accountant.supports(event):
            result[name] = float(accountant.compose(event).get_epsilon(delta))
    return result


def check_delta(
    delta: float, number: int, unit: str = "client", prefix: str = "dp"
) -> None:
    """Refuses a delta at which a guarantee for `number` units says nothing."""
    if not 0 < delta < 1 / number:
        raise UsageError(
            f"--{prefix}_delta={delta:g} must be positive and below 1/num_"
            f"{unit}s = {1 / number:.3g}: a mechanism that publishes one "
            f"{unit} at random satisfies anything weaker."
        )


class _RdpAccountant(rdp.RdpAccountant):
    """`dp_accounting`'s, with `RenyiDpEvent` and two changes to sampled events.

    Their curves are computed once: a run asks after every round. And sampling
    without replacement never costs more than no sampling: at high rates the
    bound of Wang et al. 2019 (Theorem 27) exceeds that of the plain Gaussian,
    which holds as well, because averaging over cohorts cannot increase a Renyi
    divergence above that of the worst cohort (quasi-convexity).
    """

    def _maybe_compose(self, event, count, do_compose):
        if isinstance(event, RenyiDpEvent):
            if do_compose:
                self._rdp += count * event.divergences(self._orders)
            return None
        sampled = (
            dp_accounting.PoissonSampledDpEvent,
            dp_accounting.SampledWithoutReplacementDpEvent,
        )
        if not (do_compose and isinstance(event, sampled)):
            return super()._maybe_compose(event, count, do_compose)
        error = super()._maybe_compose(event, count, False)
        if error is None:
            self._rdp += count * _rdp_curve(event, self.neighboring_relation)
        return error


@functools.lru_cache(maxsize=256)
def _rdp_curve(event, neighbours: Neighbours) -> np.ndarray:
    """Renyi divergence of one release, at the default orders."""

    def curve(event):
        accountant = rdp.RdpAccountant(neighboring_relation=neighbours)
        return accountant.compose(event).rdp

    if isinstance(event, dp_accounting.SampledWithoutReplacementDpEvent):
        return np.minimum(curve(event), curve(event.event))
    return curve(event)
