"""Epsilon from events: the smaller of what two accountants say.

Both are never below the truth. Privacy loss distributions ("pld",
`tff_cnn.privacy.loss_distributions`) are tight where they have a rule; Renyi
divergences ("rdp", Mironov 2017) have a rule for all events of ours.
"""

import collections
import functools
import math

import dp_accounting
import numpy as np
from dp_accounting import rdp

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import loss_distributions
from tff_cnn.privacy.events import RenyiDpEvent
from tff_cnn.privacy.participation import Neighbours

ADD_OR_REMOVE = Neighbours.ADD_OR_REMOVE_ONE


def epsilon(
    event: dp_accounting.DpEvent,
    delta: float,
    neighbours: Neighbours = ADD_OR_REMOVE,
) -> float:
    """The smallest epsilon of `event` at `delta` that an accountant finds.

    It is never below the truth. Where "pld" is tight (Gaussians; with Poisson
    sampling also, but for more than a million rounds, or rates of a millionth
    with hardly any noise) it is at most 0.2 % above, or, where epsilon is so
    near to 0 that this means little, what it is at a delta smaller by 0.2 %.
    Elsewhere it is the best bound known here. It never falls with more rounds
    of the same event.

    Args:
      event: To be counted.
      delta: In (0, 1).
      neighbours: What it is told apart from.

    Raises:
      dp_accounting.UnsupportedEventError: No accountant has a rule for it.
    """
    found = epsilons(event, delta, neighbours)
    known = [value for value in found.values() if value is not None]
    if not known:
        raise dp_accounting.UnsupportedEventError(
            f"no accountant has a rule for {event} with neighbours that "
            f"{neighbours.name.lower()}."
        )
    return min(known)


def fast_epsilon(
    event: dp_accounting.DpEvent,
    delta: float,
    neighbours: Neighbours = ADD_OR_REMOVE,
    fineness: int = loss_distributions.FINE,
) -> float:
    """At least `epsilon`, for searches: by "rdp" only where it must be.

    Renyi divergences of sampled releases take seconds, and are the smaller ones
    only where privacy loss distributions reach their limits.

    Args:
      event, delta, neighbours: See `epsilon`.
      fineness: See `loss_distributions.epsilon`.

    Raises:
      dp_accounting.UnsupportedEventError: No accountant has a rule for it.
    """
    found = loss_distributions.epsilon(
        _releases(event), delta, neighbours, fineness
    )
    if found is None or found == math.inf:
        return epsilon(event, delta, neighbours)
    return found


def epsilons(
    event: dp_accounting.DpEvent,
    delta: float,
    neighbours: Neighbours = ADD_OR_REMOVE,
) -> dict[str, float | None]:
    """Epsilon by "pld" and by "rdp"; None where one has no rule for `event`."""
    renyi = _RdpAccountant(neighboring_relation=neighbours)
    by_renyi = None
    if renyi.supports(event):
        by_renyi = float(renyi.compose(event).get_epsilon(delta))
    return {
        "pld": loss_distributions.epsilon(_releases(event), delta, neighbours),
        "rdp": by_renyi,
    }


def _releases(event: dp_accounting.DpEvent) -> dict[dp_accounting.DpEvent, int]:
    """What `event` is composed of, and how often; all that is free left out."""
    if isinstance(event, dp_accounting.NoOpDpEvent):
        return {}
    if isinstance(event, dp_accounting.SelfComposedDpEvent):
        return {r: n * event.count for r, n in _releases(event.event).items()}
    if isinstance(event, dp_accounting.ComposedDpEvent):
        total = collections.Counter()
        for part in event.events:
            total.update(_releases(part))
        return dict(total)
    everyone = (
        isinstance(event, dp_accounting.PoissonSampledDpEvent)
        and event.sampling_probability == 1
    ) or (
        isinstance(event, dp_accounting.SampledWithoutReplacementDpEvent)
        and event.sample_size == event.source_dataset_size
    )
    return _releases(event.event) if everyone else {event: 1}


def check_delta(
    delta: float, number: int, unit: str = "client", choice: str = "dp"
) -> None:
    """Refuses a delta at which a guarantee for `number` units says nothing."""
    if not 0 < delta < 1 / number:
        raise UsageError(
            f"<{choice}.delta>={delta:g} must be positive and below 1/num_"
            f"{unit}s = {1 / number:.3g}: a mechanism that publishes one "
            f"{unit} at random satisfies anything weaker."
        )


class _RdpAccountant(rdp.RdpAccountant):
    """`dp_accounting`'s, with `RenyiDpEvent` and two changes to sampled events.

    Their curves are computed once: a run asks after every round. And sampling
    never costs more than no sampling: at high rates the bound of Wang et al.
    2019 (Theorem 27) without replacement exceeds that of the plain Gaussian,
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
    """Upper bounds of one release's Renyi divergence, at the default orders."""

    def curve(event):
        accountant = rdp.RdpAccountant(neighboring_relation=neighbours)
        return accountant.compose(event).rdp

    found = np.minimum(curve(event), curve(event.event))
    # Smaller ones are rounding alone; some are negative, which is refused.
    return np.maximum(found, 1e-14)
