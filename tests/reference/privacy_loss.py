"""Epsilon of composed Gaussian releases, by integration of the definition.

A release of a Poisson-sampled Gaussian with noise z and rate q is as hard to
tell apart as (Mironov, Talwar & Zhang 2019, section 2)

    upper = (1 - q) N(0, z^2) + q N(1, z^2)  from  lower = N(0, z^2)

or the two exchanged. With the loss L = log(p / q) of an outcome that is drawn
from p, and S the sum over n rounds, delta at epsilon is by definition

    delta = E[(1 - e^(epsilon - S))+].

One round: {L > epsilon} is a half line, and delta two of its probabilities.
n rounds: the payoff is written as a Fourier integral along Re s = theta > 0,

    delta = 1 / (2 pi) * integral over u of M(s)^n e^(-s epsilon) / (s (s + 1)),
    s = theta + i u,  M(s) = E[e^(s L)],

whose integrand is analytic and falls like a Gaussian; theta is where it is the
smallest on the real axis. Nothing is rounded to a grid of losses. Both
integrals are sums over equally spaced points, which for such integrands have
errors that fall faster than any power of the spacing: points are doubled until
delta changes by less than 1e-7 of itself.

Gaussians without sampling: the closed form (Balle & Wang 2018, Theorem 8).
"""

import numpy as np
from scipy import optimize, special


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Of Gaussian releases with sqrt(sum of z^-2) = `mu`."""
    return float(
        special.ndtr(mu / 2 - epsilon / mu)
        - np.exp(epsilon + special.log_ndtr(-mu / 2 - epsilon / mu))
    )


class SampledGaussian:
    """n >= 1 rounds of Poisson sampling with rate q < 1 and noise z."""

    def __init__(self, noise: float, rate: float, rounds: int):
        """Args:
        noise, rate, rounds: z, q, n.
        """
        self._noise, self._rate, self._rounds = noise, rate, rounds
        self._points = 200

    def delta(self, epsilon: float) -> float:
        """The smallest one at `epsilon` >= 0.

        Raises:
          ArithmeticError: The integrals do not converge, as for a few rounds
            with little noise, whose losses are hardly smooth.
        """
        before = np.nan
        while self._points < 3500:
            found = max(
                self._directed(direction, epsilon)
                for direction in ("remove", "add")
            )
            if abs(found - before) <= 1e-7 * found:
                return found
            before = found
            self._points *= 2
        raise ArithmeticError(f"{self._rounds} rounds, noise {self._noise}.")

    def _directed(self, direction: str, epsilon: float) -> float:
        """Where a client is removed, or added."""
        if self._rounds == 1:
            return self._one_round(direction, epsilon)
        # The logarithm of the integrand at u = 0, in log(theta).
        found = optimize.minimize_scalar(
            lambda t: self._log_size(direction, epsilon, np.exp(t)),
            bounds=(-5.0, 14.0),
            method="bounded",
        )
        theta = np.exp(found.x)
        size = self._log_size(direction, epsilon, theta)
        u, step = self._frequencies(direction, epsilon, theta, size)
        s = theta + 1j * u
        logs = self._rounds * self._log_moment(direction, s) - s * epsilon
        values = np.exp(logs - np.log(s) - np.log(s + 1))
        # The integrand at -u is the conjugate of that at u.
        return float(step / np.pi * (values.real.sum() - values[0].real / 2))

    def _log_size(self, direction, epsilon, theta) -> float:
        moment = self._log_moment(direction, np.array([theta + 0j]))[0].real
        return (
            self._rounds * moment
            - theta * epsilon
            - np.log(theta)
            - np.log(theta + 1)
        )

    def _frequencies(self, direction, epsilon, theta, size):
        """u >= 0, as far as the integrand is above 1e-16 of its maximum."""

        def falls(u):
            s = np.array([theta + 1j * u])
            log = self._rounds * self._log_moment(direction, s)[0].real
            log -= theta * epsilon + np.log(np.abs(s * (s + 1)))[0]
            return log - size < -37

        high = theta
        while not falls(high):
            high *= 1.5
        u, step = np.linspace(0.0, high, self._points, retstep=True)
        return u, step

    def _log_moment(self, direction: str, s: np.ndarray) -> np.ndarray:
        """log E[e^(s L)] for complex s, shape [n], all of one real part."""
        power = s + 1 if direction == "remove" else -s

        def integrand(x):
            """At Im s = 0, the logarithm; and that of the ratio."""
            log_ratio = np.logaddexp(
                np.log1p(-self._rate),
                np.log(self._rate) + (2 * x - 1) / (2 * self._noise**2),
            )
            density = -0.5 * (x / self._noise) ** 2
            density -= np.log(self._noise * np.sqrt(2 * np.pi))
            return power[0].real * log_ratio + density, log_ratio

        # A power of the ratio shifts the Gaussian by so much at most.
        top = max(1.0, power[0].real)
        x = np.linspace(-10 * self._noise, top + 10 * self._noise, 1000)
        logs, _ = integrand(x)
        (inside,) = np.nonzero(logs > logs.max() - 45)
        low, high = x[max(inside[0] - 1, 0)], x[min(inside[-1] + 1, 999)]
        x, step = np.linspace(low, high, self._points, retstep=True)
        logs, log_ratio = integrand(x)
        weights = step * np.exp(logs - logs.max())
        phases = np.exp(1j * np.outer(power.imag, log_ratio))
        return logs.max() + np.log(phases @ weights)

    def _one_round(self, direction, epsilon) -> float:
        z, q = self._noise, self._rate

        def beyond(mean, threshold):
            return special.ndtr((mean - threshold) / z)

        if direction == "remove":
            # 1 - q + q e^((2x - 1) / 2z^2) > e^epsilon.
            x = z**2 * np.log1p(np.expm1(epsilon) / q) + 0.5
            upper = (1 - q) * beyond(0, x) + q * beyond(1, x)
            return float(upper - np.exp(epsilon) * beyond(0, x))
        # The same below e^-epsilon, which is never reached below 1 - q.
        excess = 1 + np.expm1(-epsilon) / q
        if excess <= 0:
            return 0.0
        x = z**2 * np.log(excess) + 0.5
        mixture = (1 - q) * (1 - beyond(0, x)) + q * (1 - beyond(1, x))
        return float(1 - beyond(0, x) - np.exp(epsilon) * mixture)
