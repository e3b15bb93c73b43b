"""Epsilon by privacy loss distributions (Koskela et al. 2020).

The privacy loss of an outcome is the logarithm of how much likelier it is with
a unit's data than without; losses of composed releases add up, so their
distributions are convolved. Releases with a rule, and what they are told apart
under:

    Gaussian                      any: the noise is relative to what moves it
    Laplace                       any
    Poisson-sampled Gaussian      add or remove one
    without replacement, Gaussian replace one

Gaussians alone have a closed form. Else losses are discretized by "connect the
dots" (Doroshenko et al. 2022), which moves each to its two neighbours on a
grid, so that epsilon is never below the truth. That adds h^2 / 6 on average to
the variance of a loss, at an interval h. Here h is at most 1/32 of the standard
deviation of one release's loss, measured by the square root of its Renyi
divergence of order 2 (a Gaussian's is exactly that): 0.02 % more variance, and
less than 0.2 % more epsilon (tests/privacy/loss_distributions_test.py). An
interval that did not shrink with the loss would exceed it where noise is much,
and then count for more than the loss itself.

*Without replacement.* Cohorts of m out of n; P and Q are N(1, z^2) and N(0,
z^2), the worst that replacing one of a cohort's members does; gamma = m / n.
With A the mean over the cohorts without the unit in question, B and B' those
with it, the outcomes are (1 - gamma) A + gamma B and (1 - gamma) A + gamma B'.
By advanced joint convexity (Balle, Barthe & Gaboardi 2018, Theorem 2) their
hockey-stick divergence of order 1 + gamma (alpha - 1) is at most gamma times
the largest of order alpha between B and A or B', which replacing one member
turns into each other: that of P and Q. This is the divergence between
(1 - gamma) Q + gamma P and Q, for orders >= 1; those < 1 follow by exchanging
the two. The larger of both at each order is convex and so that of a pair of
distributions, whose products bound compositions (Zhu, Dong & Wang 2022,
Theorems 10 and 11). Some datasets attain it in one round.
"""

import functools
import math
from collections.abc import Mapping, Sequence

import dp_accounting
import numpy as np
from dp_accounting.pld import privacy_loss_mechanism
from scipy import optimize, special

from tff_cnn.privacy import composition
from tff_cnn.privacy.composition import LossDistribution
from tff_cnn.privacy.participation import Neighbours

# Intervals in a standard deviation of the loss.
FINE, COARSE = 32, 4
# A deviation that is longer is divided as if it were this long, where that is
# still fast: intervals used to be 1e-3, and no epsilon that was stated then
# should rise.
_LARGEST = 0.025
# Where one release's losses, or their sum's, would be more, the interval is
# longer and epsilon less tight. So many take 4 s.
_MOST_POINTS = 2**18
# Standard deviations of a Gaussian in which whatever matters lies.
_DEVIATIONS = 10
# A closed form is solved to so much of epsilon, and rounded up by it.
_TOLERANCE = 1e-10


def epsilon(
    releases: Mapping[dp_accounting.DpEvent, int],
    delta: float,
    neighbours: Neighbours,
    fineness: int = FINE,
) -> float | None:
    """Epsilon at `delta` of `releases` together; None without a rule.

    Args:
      releases: Each with how often it is composed.
      delta: In (0, 1). At 1e-20 or less the result may be infinite: noise is
        cut off where e^-50 of it is left.
      neighbours: What they are told apart under.
      fineness: Intervals in a standard deviation of the loss.
    """
    if not all(_has_rule(release, neighbours) for release in releases):
        return None
    gaussians = [r for r in releases if _is_gaussian(r)]
    squared = sum(releases[r] / r.noise_multiplier**2 for r in gaussians)
    others = {r: n for r, n in releases.items() if r not in gaussians}
    if not others:
        return gaussian_epsilon(math.sqrt(squared), delta)
    if squared:
        others[dp_accounting.GaussianDpEvent(squared**-0.5)] = 1
    interval = _interval(others, fineness)
    ways = zip(*(_distributions(r, interval) for r in others), strict=True)
    return max(
        composition.epsilon(
            list(zip(way, others.values(), strict=True)), interval, delta
        )
        for way in ways
    )


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Of Gaussians with sqrt(sum of noise^-2) = mu (Balle & Wang 2018, Thm. 8).

    Dong, Roth & Su 2022 call it mu-GDP. It is exact but for being rounded up.
    """

    def excess(epsilon):
        """Log of delta at `epsilon` over the one that is asked for."""
        upper = special.log_ndtr(mu / 2 - epsilon / mu)
        lower = epsilon + special.log_ndtr(-mu / 2 - epsilon / mu)
        # Rounding can make them equal where delta is far too small to ask for.
        remaining = max(-math.expm1(min(lower - upper, 0.0)), 1e-300)
        return upper + math.log(remaining) - math.log(delta)

    if mu == 0 or excess(0.0) <= 0:
        return 0.0
    high = mu
    while excess(high) > 0:
        high *= 2
    found = optimize.brentq(excess, 0.0, high, xtol=1e-300, rtol=_TOLERANCE / 4)
    return found * (1 + _TOLERANCE)


def _is_gaussian(release: dp_accounting.DpEvent) -> bool:
    return isinstance(release, dp_accounting.GaussianDpEvent)


def _has_rule(release: dp_accounting.DpEvent, neighbours: Neighbours) -> bool:
    if isinstance(release, dp_accounting.PoissonSampledDpEvent):
        relation = Neighbours.ADD_OR_REMOVE_ONE
        return neighbours is relation and _is_gaussian(release.event)
    if isinstance(release, dp_accounting.SampledWithoutReplacementDpEvent):
        relation = Neighbours.REPLACE_ONE
        return neighbours is relation and _is_gaussian(release.event)
    return _is_gaussian(release) or isinstance(
        release, dp_accounting.LaplaceDpEvent
    )


def _rate(release: dp_accounting.DpEvent) -> float:
    """Rate at which a sampled Gaussian is sampled, in (0, 1]."""
    if isinstance(release, dp_accounting.PoissonSampledDpEvent):
        return release.sampling_probability
    return release.sample_size / release.source_dataset_size


def _interval(
    releases: Mapping[dp_accounting.DpEvent, int], fineness: int
) -> float:
    """Spacing of the grid of losses; more rounds never make it finer."""
    squared = sum(_order_two(r) * n for r, n in releases.items())
    interval = math.sqrt(squared / sum(releases.values()))
    widest = max(map(_largest_loss, releases))
    widest = max(widest, 2 * _DEVIATIONS * math.sqrt(squared))
    if widest < _LARGEST / fineness * _MOST_POINTS / 2:
        interval = min(interval, _LARGEST)
    interval = max(interval / fineness, widest / _MOST_POINTS)
    for release in releases:
        if isinstance(release, dp_accounting.LaplaceDpEvent):
            # Half of its losses are the largest, which then is on the grid.
            largest = _largest_loss(release)
            return largest / math.ceil(largest / interval)
    return interval


def _order_two(release: dp_accounting.DpEvent) -> float:
    """Renyi divergence of order 2, about the variance of the loss."""
    if isinstance(release, dp_accounting.LaplaceDpEvent):
        loss = 1 / release.noise_multiplier
        return loss + math.log((2 + math.exp(-3 * loss)) / 3)
    if _is_gaussian(release):
        return release.noise_multiplier**-2
    noise = release.event.noise_multiplier
    return _log_mixture(noise**-2, _rate(release) ** 2)


def _largest_loss(release: dp_accounting.DpEvent) -> float:
    """The largest loss whose probability counts."""
    if isinstance(release, dp_accounting.LaplaceDpEvent):
        return 1 / release.noise_multiplier
    noise, rate = getattr(release, "noise_multiplier", None), 1.0
    if noise is None:
        noise, rate = release.event.noise_multiplier, _rate(release)
    return _log_mixture((_DEVIATIONS * noise + 0.5) / noise**2, rate)


def _log_mixture(log: float, share: float) -> float:
    """log(1 + share (e^log - 1)), which may be too large for e^log."""
    if log > 600:
        return log + math.log(share)
    return math.log1p(share * math.expm1(log))


@functools.lru_cache(maxsize=8)
def _distributions(
    release: dp_accounting.DpEvent, interval: float
) -> tuple[LossDistribution, ...]:
    """A release's losses, each way round; cached for the rounds of a run."""
    ways = tuple(privacy_loss_mechanism.AdjacencyType)
    if isinstance(release, dp_accounting.LaplaceDpEvent):
        loss = privacy_loss_mechanism.LaplacePrivacyLoss(
            release.noise_multiplier
        )
        return (_discretized([loss], interval),) * len(ways)
    if _is_gaussian(release):
        loss = privacy_loss_mechanism.GaussianPrivacyLoss(
            release.noise_multiplier
        )
        return (_discretized([loss], interval),) * len(ways)
    losses = [
        privacy_loss_mechanism.GaussianPrivacyLoss(
            release.event.noise_multiplier,
            sampling_prob=_rate(release),
            adjacency_type=way,
        )
        for way in ways
    ]
    if isinstance(release, dp_accounting.PoissonSampledDpEvent):
        return tuple(_discretized([loss], interval) for loss in losses)
    return (_discretized(losses, interval),) * len(ways)


def _discretized(
    losses: Sequence[privacy_loss_mechanism.AdditiveNoisePrivacyLoss],
    interval: float,
) -> LossDistribution:
    """Connects the dots of the largest delta of `losses` (see the module).

    Probabilities are those with which delta is the given one at each point of
    the grid (Doroshenko et al. 2022, Algorithm 1).
    """
    bounds = [loss.connect_dots_bounds() for loss in losses]
    lowest = math.floor(min(b.epsilon_lower for b in bounds) / interval)
    highest = math.ceil(max(b.epsilon_upper for b in bounds) / interval)
    grid = np.arange(lowest, highest + 1) * interval
    deltas = np.max([loss.get_delta_for_epsilon(grid) for loss in losses], 0)
    # Never increasing, but for how they were rounded.
    deltas = np.maximum.accumulate(deltas[::-1])[::-1]
    steps = np.diff(deltas)
    up = np.append(1 - deltas[0], steps / np.expm1(-interval))
    down = np.append(steps / np.expm1(interval), 0.0)
    probabilities = np.maximum(up + down, 0.0)
    return LossDistribution(lowest, probabilities, float(deltas[-1]))
