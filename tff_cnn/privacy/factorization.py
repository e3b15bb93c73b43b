"""Factorizations A = B C of the prefix sum, and what they cost.

A (lower triangular, all ones) turns the rounds' sums x into the running totals
that a model is made of. The server releases x + C^-1 z with independent
Gaussian z, which is a function of C x + z: the privacy is that of one Gaussian
mechanism with the sensitivity of C, also where x depends on earlier releases
(Denisov et al. 2022, Theorem 2.1). The error of the totals is B z.

C is Toeplitz throughout: entry (t, s) is c[t - s], so it is given by its first
column c, its inverse and B are Toeplitz too, and all are power series:

    C            c(x)
    C^-1         1 / c(x)
    B = A C^-1   1 / ((1 - x) c(x))

`c` always has unit norm, so that one participation costs what one release of
plain Gaussian noise costs. Times are rounds, from 0.
"""

import functools
import math

import numpy as np
import scipy.optimize
import scipy.signal


def inverse_column(column: np.ndarray, size: int) -> np.ndarray:
    """First `size` entries of the first column of the inverse; float64."""
    return scipy.signal.lfilter([1.0], column, _impulse(size))


def squared_sensitivity(
    column: np.ndarray, rounds: int, separation: int, participations: int
) -> float:
    """Most that one client's updates of norm 1 can move C x, squared.

    Args:
      column: First column of C; non-negative and not increasing, or zero from
        entry `separation` on. Rounds beyond its end have entries of zero.
      rounds: Of which C has a row and a column each.
      separation: Rounds between two participations, >= 1.
      participations: At most so many, >= 1.

    Returns:
      The squared norm of the sum of the columns 0, separation, 2 separation
      and so on. That pattern is the worst: where the column does not increase
      by Kalinin & Lampert 2024 (Theorem 2), where it ends before `separation`
      because the columns are orthogonal (Choquette-Choo et al. 2023a, section
      3) and the first ones are the longest.

    Raises:
      ValueError: The column is of neither kind.
    """
    is_banded = len(np.trim_zeros(column, "b")) <= separation
    is_monotone = column[-1] >= 0 and (np.diff(column) <= 1e-12).all()
    if not (is_banded or is_monotone):
        raise ValueError("the worst participation of this C is not known.")
    column = np.asarray(column)[:rounds]
    total = np.zeros(rounds)
    for start in range(0, rounds, separation)[:participations]:
        end = min(rounds, start + len(column))
        total[start:end] += column[: end - start]
    return float(total @ total)


def mean_squared_error(column: np.ndarray, rounds: int) -> float:
    """Mean over rounds of the variance of the totals, at z of variance 1."""
    error = np.cumsum(inverse_column(column, rounds))
    return float(_weights(rounds) @ error**2)


def loss(
    column: np.ndarray, rounds: int, separation: int, participations: int
) -> float:
    """Root mean squared error of the totals at a fixed cost in privacy.

    It is relative to independent noise that is paid for once: what is compared
    in the papers' tables (Choquette-Choo et al. 2023b, equation 4).
    """
    return math.sqrt(
        mean_squared_error(column, rounds)
        * squared_sensitivity(column, rounds, separation, participations)
    )


@functools.lru_cache(maxsize=64)
def banded_column(rounds: int, bands: int) -> tuple[float, ...]:
    """The best Toeplitz C with `bands` bands for `rounds` rounds.

    Minimizes mean squared error times squared sensitivity. Participations at
    least `bands` rounds apart have orthogonal columns, so the best C does not
    depend on how many there are (Choquette-Choo et al. 2023b, section 4;
    McKenna 2024, section 4, for Toeplitz matrices). Starts from the square
    root of A (Fichtenberger et al. 2023), which is the limit for many bands.

    Args:
      rounds: >= 1.
      bands: In [1, rounds]; 1 is independent noise.

    Returns:
      c[0], ..., c[bands - 1]; unit norm.
    """
    if bands == 1:
        return (1.0,)
    weights = _weights(rounds)

    def objective(tail):
        column = np.concatenate([[1.0], tail])
        inverse = inverse_column(column, rounds)
        error = np.cumsum(inverse)
        # d(1 / ((1 - x) c)) = -(1 / ((1 - x) c)) (1 / c) dc.
        slope = -2 * _correlate(
            weights * error, scipy.signal.fftconvolve(error, inverse)[:rounds]
        )
        mse, norm = weights @ error**2, column @ column
        gradient = slope[:bands] * norm + 2 * column * mse
        # The logarithm, for the sake of the optimizer's stopping rules.
        return np.log(mse * norm), gradient[1:] / (mse * norm)

    start = square_root_column(bands)
    found = scipy.optimize.minimize(
        objective, start[1:], jac=True, method="L-BFGS-B"
    )
    return _normalized(np.concatenate([[1.0], found.x]))


def square_root_column(size: int) -> np.ndarray:
    """First column of the square root of A: binomial(2 t, t) / 4^t."""
    t = np.arange(1, size)
    return np.concatenate([[1.0], np.cumprod((2 * t - 1) / (2 * t))])


def blt_column(
    decays: np.ndarray, scales: np.ndarray, rounds: int
) -> np.ndarray:
    """c[0] = 1 and c[t] = sum over j of scales[j] decays[j]^(t-1)."""
    powers = decays ** np.arange(rounds - 1)[:, None]
    return np.concatenate([[1.0], powers @ scales])


@functools.lru_cache(maxsize=64)
def blt_parameters(
    rounds: int, buffers: int, separation: int, participations: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The best buffered linear Toeplitz C (McMahan et al. 2024).

    With `buffers` buffers its column is a sum of so many geometric series
    (their Definition 3.1), here with non-negative scales, so that it does not
    increase and its worst participation is known. Minimizes `loss` over decays
    and scales from several starts.

    Returns:
      (decays in (0, 1), scales > 0), each of length `buffers`.
    """

    def unpack(parameters):
        decays, shares = np.split(parameters, 2)
        decays = 1 / (1 + np.exp(-decays))
        # c[1] = sum(scales) <= 1 = c[0]: the column may not increase.
        shares = np.exp(shares)
        return decays, shares / (1 + shares.sum())

    def objective(parameters):
        column = blt_column(*unpack(parameters), rounds)
        return np.log(loss(column, rounds, separation, participations))

    best = None
    for longest in (0.1, 0.3, 1.0):
        reach = np.geomspace(2.0, max(3.0, longest * rounds), buffers)
        decays = 1 - 1 / reach
        scales = 0.5 * reach**-0.5 / (reach**-0.5).sum()
        start = np.concatenate(
            [
                np.log(decays / (1 - decays)),
                np.log(scales / (1 - scales.sum())),
            ]
        )
        found = scipy.optimize.minimize(objective, start, method="L-BFGS-B")
        if best is None or found.fun < best.fun:
            best = found
    decays, scales = unpack(best.x)
    return tuple(map(float, decays)), tuple(map(float, scales))


def _normalized(column: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, column / np.linalg.norm(column)))


def _impulse(size: int) -> np.ndarray:
    return np.eye(1, size)[0]


def _weights(rounds: int) -> np.ndarray:
    """Share of the totals in which an entry of B's first column occurs."""
    return np.arange(rounds, 0, -1) / rounds


def _correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """result[j] = sum over t of a[t] b[t - j]."""
    size = len(a)
    return scipy.signal.fftconvolve(a, b[::-1])[size - 1 :]
