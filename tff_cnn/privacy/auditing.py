"""Epsilon as an attacker would measure it, beside the accountant's.

Andrew, Kairouz, Oh, Oprea, McMahan, Suriyakumar 2023, "One-shot Empirical
Privacy Estimation for Federated Learning" (arXiv 2302.03098): canary clients
send random directions, and the cosines between these and what was released
tell how well their presence shows. Of a canary that took no part the cosine is
N(0, 1/d) in d dimensions; of one that did it is fitted by N(mu, sigma^2); and
epsilon is that which separates the two distributions at delta. Needs NumPy and
SciPy only, so that notebooks can use it.

Two things differ from the paper. It takes sigma from the sample always, and at
small delta a spread that is 1 % off moves epsilon by about 0.1: with a thousand
canaries that chance outweighs an epsilon of 1. Here a spread that the canaries
cannot tell from the null's (a two-sided test at 1 %) is taken to be the null's,
which is what theory says of a Gaussian mechanism; one that they can tell is
taken from the sample. And to the maxima over rounds, which have another shape,
it fits two Gaussians too; their tails are not those of maxima, and epsilon
comes out too large. Here maxima are first mapped to what is N(0, 1) without the
canary; the map is increasing, so that no test of membership gains or loses.

The estimate is no bound: an attacker may do better than with cosines, and k
canaries that take part at once hide one another a little: by a factor of
sqrt(1 + k / (d z^2)), where z is the noise multiplier.
"""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
from scipy import optimize, special, stats

from tff_cnn.core import randomness
from tff_cnn.privacy import MIN_CANARIES

# Below this many dimensions the cosine's distribution is not yet Gaussian.
MIN_DIMENSION = 1000
_SIGNIFICANCE = 0.01
_RESAMPLES = 1000
_LARGEST_EPSILON = 700.0  # e^epsilon must be a float.


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An empirical epsilon.

    Attributes:
      epsilon: >= 0; infinite where it is beyond what floats can tell.
      interval: (lower, upper), for the chance in the canaries' cosines.
      level: Of the interval.
      method: How the interval was found.
    """

    epsilon: float
    interval: tuple[float, float]
    level: float
    method: str


@dataclasses.dataclass(frozen=True)
class _Gaussian:
    mean: float
    stddev: float


def direction(seed: int, canary: int, dimension: int) -> np.ndarray:
    """A canary's direction: uniform on the unit sphere, float32, [dimension].

    Args:
      seed: Root seed of the run.
      canary: >= 0.
      dimension: Of the model, >= 1.
    """
    generator = randomness.generator(
        seed, randomness.Purpose.CANARIES, client=canary
    )
    drawn = generator.standard_normal(dimension, np.float32)
    return drawn / np.linalg.norm(drawn)


def cosines(
    seed: int, canaries: Iterable[int], released: np.ndarray
) -> np.ndarray:
    """Cosines between canaries' directions and a released vector.

    Directions are drawn anew, one at a time: all at once they would take as
    much memory as so many models.

    Args:
      seed: As in `direction`.
      canaries: Which ones.
      released: [dimension]; a vector of zeros has cosine 0 with everything.

    Returns:
      float64, [number of canaries].
    """
    norm = float(np.linalg.norm(released))
    unit = (released / (norm or 1.0)).astype(np.float32)
    return np.array(
        [float(unit @ direction(seed, c, unit.size)) for c in canaries]
    )


def estimate_epsilon(
    canary_cosines: np.ndarray,
    dimension: int,
    delta: float,
    level: float = 0.95,
) -> Estimate:
    """Epsilon from the cosines with one release of a run or of one mechanism.

    Args:
      canary_cosines: Of canaries that were in the population, each with the
        same release, [k], k >= 10; positive is towards the canary.
      dimension: Of the release, d >= 1000.
      delta: In (0, 1).
      level: Of the interval, in (0, 1).

    Raises:
      ValueError: Too few canaries or dimensions.
    """
    if dimension < MIN_DIMENSION:
        raise ValueError(
            f"the null distribution needs {MIN_DIMENSION} dimensions, found "
            f"{dimension}."
        )
    scores = _checked(canary_cosines) * math.sqrt(dimension)
    return _estimate(scores, delta, level)


def estimate_epsilon_of_maxima(
    seen: np.ndarray,
    unseen: np.ndarray,
    dimension: int,
    delta: float,
    level: float = 0.95,
) -> Estimate:
    """Epsilon from maxima over all releases of a run.

    Without the canary they are maxima over as many Gaussians as the releases
    are independent of one another, which canaries that took no part tell.

    Args:
      seen: Of each canary that was in the population, the largest of its
        cosines with the differences between successive models, [k], k >= 10.
      unseen: Such maxima of canaries that were not in it, [m], m >= 10.
      dimension: Of the models.
      delta: In (0, 1).
      level: Of the interval, in (0, 1).

    Raises:
      ValueError: Too few canaries.
    """
    scale = math.sqrt(dimension)
    seen, unseen = _checked(seen) * scale, _checked(unseen) * scale
    # -log of a maximum's distribution function is exponential with rate 1.
    independent_rounds = -1 / special.log_ndtr(unseen).mean()
    scores = _normal_scores(seen, independent_rounds)
    return _estimate(scores, delta, level, null_error=len(unseen) ** -0.5)


def epsilon_of_two_gaussians(
    mean1: float, stddev1: float, mean2: float, stddev2: float, delta: float
) -> float:
    """The least epsilon at which two Gaussians are indistinguishable.

    That is, at which both hockey-stick divergences (Steinke 2022, "Composition
    of Differential Privacy", section 2) are at most delta. Infinite above 700.
    """
    # Only proportions matter.
    p = _Gaussian(0.0, 1.0)
    q = _Gaussian((mean2 - mean1) / stddev1, stddev2 / stddev1)

    def excess(epsilon):
        return max(_delta(p, q, epsilon), _delta(q, p, epsilon)) - delta

    if excess(0.0) <= 0:
        return 0.0
    if excess(_LARGEST_EPSILON) > 0:
        return math.inf
    return float(optimize.brentq(excess, 0.0, _LARGEST_EPSILON, xtol=1e-9))


def exchanged(epsilon: float, delta: float) -> tuple[float, float]:
    """Epsilon and delta of exchanging one unit for another.

    Where they are of adding, removing or zeroing out one: an exchange is two of
    these (group privacy; Dwork & Roth 2014, Theorem 2.2).
    """
    return 2 * epsilon, min(1.0, delta * (1 + math.exp(min(epsilon, 700.0))))


def advantage_bound(epsilon: float, delta: float) -> float:
    """The largest TPR - FPR of any test of membership (Humphries 2020)."""
    # (e^epsilon - 1 + 2 delta) / (e^epsilon + 1), without its overflow.
    shrunk = math.exp(-epsilon)
    return (1 - shrunk + 2 * delta * shrunk) / (1 + shrunk)


def tpr_bound(fpr: np.ndarray, epsilon: float, delta: float) -> np.ndarray:
    """The largest true positive rate at a false positive rate.

    Kairouz et al. 2015, "The Composition Theorem for Differential Privacy",
    Theorem 2.1: TPR <= e^epsilon FPR + delta, and the same of the complements.
    """
    fpr = np.asarray(fpr, float)
    with np.errstate(over="ignore", invalid="ignore"):
        few = np.where(fpr > 0, np.exp(epsilon) * fpr, 0.0) + delta
    many = 1 - math.exp(-epsilon) * (1 - delta - fpr)
    return np.clip(np.minimum(few, many), 0.0, 1.0)


def auc_bound(epsilon: float, delta: float) -> float:
    """The area under `tpr_bound`: no attack's AUC is larger."""
    # Two straight pieces meet where FPR = 1 - TPR; the rest is TPR = 1.
    corner = (1 - advantage_bound(epsilon, delta)) / 2
    fpr = [0.0, corner, 1 - delta, 1.0]
    return float(np.trapz([delta, 1 - corner, 1.0, 1.0], fpr))


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    if values.size < MIN_CANARIES:
        raise ValueError(
            f"{values.size} canaries are too few: at least {MIN_CANARIES}."
        )
    return values


def _normal_scores(largest: np.ndarray, count: float) -> np.ndarray:
    """Maps maxima of `count` standard normals to a standard normal."""
    at_most = count * special.log_ndtr(np.minimum(largest, 37.0))
    return -special.ndtri(-np.expm1(at_most))


def _estimate(
    scores: np.ndarray, delta: float, level: float, null_error: float = 0.0
) -> Estimate:
    """From scores that are N(0, 1) without the canary.

    `null_error` is the standard error of that distribution's mean.
    """
    freedom = len(scores) - 1
    chance = stats.chi2(freedom).cdf(scores.var(ddof=1) * freedom)
    if _SIGNIFICANCE / 2 <= chance <= 1 - _SIGNIFICANCE / 2:
        error = math.hypot(len(scores) ** -0.5, null_error)
        shifts = stats.norm(scores.mean(), error).interval(level)
        return Estimate(
            _epsilon(scores.mean(), 1.0, delta),
            tuple(_epsilon(shift, 1.0, delta) for shift in shifts),
            level,
            "two Gaussians of one spread; interval from the error of the mean",
        )

    def epsilon(sample, error=0.0):
        return _epsilon(sample.mean() + error, sample.std(ddof=1), delta)

    rng = np.random.default_rng(0)  # Of no run: it must only be repeatable.
    resampled = [
        epsilon(rng.choice(scores, scores.size), null_error * rng.normal())
        for _ in range(_RESAMPLES)
    ]
    # "lower": an infinite one has no neighbour to interpolate with.
    tails = [(1 - level) / 2, (1 + level) / 2]
    lower, upper = np.quantile(resampled, tails, method="lower")
    return Estimate(
        epsilon(scores),
        (float(lower), float(upper)),
        level,
        "two Gaussians, each with its spread; interval from a bootstrap over "
        "canaries",
    )


def _epsilon(mean: float, stddev: float, delta: float) -> float:
    """Epsilon of N(mean, stddev^2) beside N(0, 1)."""
    # That a release moves away from a canary is no evidence of it.
    return epsilon_of_two_gaussians(0.0, 1.0, max(mean, 0.0), stddev, delta)


def _delta(p: _Gaussian, q: _Gaussian, epsilon: float) -> float:
    """Hockey-stick divergence: the integral of max(0, p - e^epsilon q).

    log(p / q) > epsilon is a quadratic inequality, a x^2 + b x + c > 0.
    """
    a = (q.stddev**-2 - p.stddev**-2) / 2
    b = p.mean / p.stddev**2 - q.mean / q.stddev**2
    c = ((q.mean / q.stddev) ** 2 - (p.mean / p.stddev) ** 2) / 2
    c += math.log(q.stddev / p.stddev) - epsilon
    parts = _where_positive(a, b, c)
    return max(
        0.0,
        sum(_mass(p, *part) for part in parts)
        - math.exp(epsilon) * sum(_mass(q, *part) for part in parts),
    )


def _where_positive(a: float, b: float, c: float) -> list[tuple[float, float]]:
    """The intervals in which a x^2 + b x + c > 0."""
    if a == 0:
        if b == 0:
            return [(-math.inf, math.inf)] if c > 0 else []
        root = -c / b
        return [(root, math.inf)] if b > 0 else [(-math.inf, root)]
    discriminant = b * b - 4 * a * c
    if discriminant <= 0:
        return [(-math.inf, math.inf)] if a > 0 else []
    # The root without cancellation first, the other from their product.
    half = -(b + math.copysign(math.sqrt(discriminant), b)) / 2
    low, high = sorted((half / a, c / half))
    if a > 0:
        return [(-math.inf, low), (high, math.inf)]
    return [(low, high)]


def _mass(gaussian: _Gaussian, low: float, high: float) -> float:
    low, high = ((x - gaussian.mean) / gaussian.stddev for x in (low, high))
    if low > 0:  # Small tails are accurate on the left only.
        low, high = -high, -low
    return float(special.ndtr(high) - special.ndtr(low))
