"""Sums of independent privacy losses on a grid, by Fourier transform.

Convolving n distributions by a discrete Fourier transform leaves errors of
about n times the machine's precision everywhere, also far out where a small
delta is decided. So each distribution is tilted first: p(l) becomes p(l)
e^(theta l) / M(theta), with M the moment generating function, which convolution
respects, and after it the tilt is undone. With the right theta the tilted sum
has its bulk around epsilon, and the errors are relative to delta. Where they
are far below delta anyway nothing is tilted. Values that may be rounding alone
are taken to be as large as that, so epsilon is never below the truth.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy import fft

# A share of exp(-20) of delta is left outside of the window.
_LOG_OUTSIDE = 20.0
# Delta is taken to be smaller by this share, which covers what is outside of
# the window, and rounding for up to ten million rounds.
_SLACK = 1e-8
# For losses in intervals: a loss has about thirty of them, and a sum thousands.
_THETAS = np.append(0.0, np.exp(np.arange(-25.0, 3.0, 0.5)))
# Windows that are longer than this are not tilted as much.
_LONGEST_WINDOW = 2**20
# Rounding errors that are below this share of delta need no tilt.
_NEGLIGIBLE = 1e-4


@dataclasses.dataclass(frozen=True, eq=False)
class LossDistribution:
    """The loss of one release, on multiples of an interval.

    Attributes:
      lowest: Of the losses, in intervals.
      probabilities: Of the losses lowest, lowest + 1, ...; float64.
      infinite: Probability that the loss is infinite.
    """

    lowest: int
    probabilities: np.ndarray
    infinite: float

    @property
    def highest(self) -> int:
        """The largest finite loss, in intervals."""
        return self.lowest + len(self.probabilities) - 1

    @functools.cached_property
    def log_moments(self) -> np.ndarray:
        """`log_moment` of all `_THETAS`; once for the rounds of a run."""
        return np.array([self.log_moment(theta) for theta in _THETAS])

    @property
    def variance(self) -> float:
        """Variance of the finite losses, in squared intervals."""
        losses = np.arange(self.lowest, self.highest + 1)
        mean = losses @ self.probabilities
        return float((losses - mean) ** 2 @ self.probabilities)

    def log_moment(self, theta: float) -> float:
        """log E[e^(theta loss)] of finite losses in intervals."""
        return self._log_terms(theta)[1]

    def tilted(self, theta: float) -> np.ndarray:
        """The probabilities, tilted; they sum to one."""
        terms, total = self._log_terms(theta)
        return np.exp(terms - total)

    def _log_terms(self, theta: float) -> tuple[np.ndarray, float]:
        """log p(l) e^(theta l), and the logarithm of the sum."""
        losses = np.arange(self.lowest, self.highest + 1)
        with np.errstate(divide="ignore"):
            terms = theta * losses + np.log(self.probabilities)
        most = terms.max()
        return terms, float(most + np.log(np.exp(terms - most).sum()))


Parts = Sequence[tuple[LossDistribution, int]]


def epsilon(parts: Parts, interval: float, delta: float) -> float:
    """The least epsilon >= 0 at which the sum of the losses has `delta`.

    Args:
      parts: Distributions, and how often each is in the sum.
      interval: Of their grid.
      delta: In (0, 1).

    Returns:
      Where E[(1 - e^(epsilon - sum))+] is `delta`, rounded up; infinity if the
      sum is infinite too often.
    """
    finite = sum(n * math.log1p(-part.infinite) for part, n in parts)
    allowed = delta * (1 - _SLACK) + math.expm1(finite)
    if allowed <= 0:
        return math.inf
    chosen = 0
    if _rounding(parts) > _NEGLIGIBLE * allowed:
        chosen = _tilt(parts, interval, math.log(allowed))
    losses, logs = _sum(parts, chosen, allowed)
    return _invert(losses * interval, logs, allowed)


def _tilt(parts: Parts, interval: float, log_delta: float) -> int:
    """Index of the theta that moves the bulk to about epsilon.

    Delta is an integral over s = theta + i u of e^(log_moment(s) - s epsilon) /
    (s (s + 1)), s being for losses themselves; the integrand's maximum bounds
    it up to a factor. This is the theta where that bound's epsilon is least.
    """
    s = _THETAS[1:] / interval
    logs = _log_moments(parts)[1:] - log_delta - np.log(s) - np.log1p(s)
    return 1 + int(np.argmin(logs / _THETAS[1:]))


def _rounding(parts: Parts) -> float:
    """Error of a convolution, over its largest value."""
    return float(np.finfo(float).eps) * sum(count for _, count in parts)


def _log_moments(parts: Parts) -> np.ndarray:
    """`log_moment` of the sum of all parts, for all `_THETAS`."""
    return sum(count * part.log_moments for part, count in parts)


def _sum(
    parts: Parts, chosen: int, delta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Losses of the sum within the window, and logs of their probabilities."""
    tilted = _tilted(parts, chosen)
    low, high = _window(tilted, delta)
    while chosen and high - low > _LONGEST_WINDOW:
        # Rare, large losses that the tilt has made common.
        chosen -= 1
        tilted = _tilted(parts, chosen)
        low, high = _window(tilted, delta)
    size = fft.next_fast_len(high - low + 1, real=True)
    spectrum = np.ones(size // 2 + 1, dtype=complex)
    for part, count in tilted:
        missing = -len(part.probabilities) % size
        folded = np.pad(part.probabilities, (0, missing)).reshape(-1, size)
        spectrum *= fft.rfft(folded.sum(axis=0)) ** count
    losses = np.arange(low, high + 1)
    start = sum(part.lowest * count for part, count in parts)
    found = fft.irfft(spectrum, size)[(losses - start) % size]
    # What is smaller may be rounding alone, and is not taken to be less.
    logs = np.log(np.maximum(found, _rounding(parts) * found.max()))
    tilt = _log_moments(parts)[chosen] - _THETAS[chosen] * losses
    return losses, logs + tilt


def _tilted(parts: Parts, chosen: int) -> Parts:
    return [
        (LossDistribution(part.lowest, part.tilted(_THETAS[chosen]), 0.0), n)
        for part, n in parts
    ]


def _window(parts: Parts, delta: float) -> tuple[int, int]:
    """Losses between which a sum lies, by Chernoff's bound."""
    outside = _LOG_OUTSIDE - math.log(delta)
    low = sum(count * part.lowest for part, count in parts)
    high = sum(count * part.highest for part, count in parts)
    variance = sum(count * part.variance for part, count in parts)
    longest = max(len(part.probabilities) for part, _ in parts)
    # The best order is the less the longer the tails.
    most = 16 / math.sqrt(max(variance, 1.0))
    for order in np.geomspace(min(1 / longest, most), most, 12):
        up, down = (
            sum(count * part.log_moment(sign) for part, count in parts)
            for sign in (order, -order)
        )
        high = min(high, math.ceil((up + outside) / order))
        low = max(low, math.floor((down + outside) / -order))
    return low, high


def _invert(losses: np.ndarray, logs: np.ndarray, delta: float) -> float:
    """The least epsilon >= 0 with E[(1 - e^(epsilon - loss))+] = delta.

    Args:
      losses: Increasing.
      logs: log p(l).
      delta: > 0.
    """
    # Log of the sums over l >= loss k of p(l) and of p(l) e^-l.
    upper = np.logaddexp.accumulate(logs[::-1])[::-1]
    lower = np.logaddexp.accumulate((logs - losses)[::-1])[::-1]
    with np.errstate(invalid="ignore"):  # Beyond the last loss, 0 / 0.
        ratio = np.minimum(losses + lower - upper, 0.0)
        at_losses = np.nan_to_num(np.exp(upper) * -np.expm1(ratio))
    enough = int(np.argmax(at_losses <= delta))
    if at_losses[enough] > delta:
        return float(losses[-1])
    # Between the loss before and this one only the sums from this one count.
    share = delta * math.exp(-upper[enough])
    found = -math.inf
    if share < 1:
        found = upper[enough] + math.log1p(-share) - lower[enough]
    found = min(found, losses[enough])
    if enough > 0:
        found = max(found, losses[enough - 1])
    return max(0.0, float(found) * (1 + 1e-12))
