"""Frozen descriptions of mechanisms.

One object both configures the aggregator that adds the noise
(`tff_cnn.aggregators.private`) and yields the event that the accountant counts
(`round_event`), so the two cannot drift apart.
"""

import dataclasses
import math

import dp_accounting

from tff_cnn.core.errors import UsageError

# The only ways of drawing a cohort for which `round_event` is right.
_ACCOUNTED_SAMPLING = ("poisson", "full")


@dataclasses.dataclass(frozen=True)
class FixedClipGaussian:
    """Client-level central DP-FedAvg (McMahan et al. 2018, Algorithm 1).

    A round releases (sum over the cohort of clipped updates + N(0, (clip_norm
    * noise_multiplier)^2 I)) / expected_cohort. The divisor is the expected
    size: dividing by the actual one would release it and change the
    sensitivity.

    Attributes:
      clip_norm: L2 bound of a client's whole update, > 0. With it the sum's
        sensitivity to adding or removing one client is `clip_norm`.
      noise_multiplier: Noise standard deviation over `clip_norm`, > 0.
      expected_cohort: Expected clients a round, > 0.
      sampling: "poisson" or "full"; others have other events.
      sampling_rate: Probability that a client takes part, in (0, 1]; 1 for
        "full".
    """

    clip_norm: float
    noise_multiplier: float
    expected_cohort: float
    sampling: str
    sampling_rate: float

    def __post_init__(self):
        _check_positive("--dp_clip_norm", self.clip_norm)
        _check_positive("--dp_noise_multiplier", self.noise_multiplier)
        if self.sampling not in _ACCOUNTED_SAMPLING:
            raise UsageError(
                f"--sampling={self.sampling} has no privacy accounting: its "
                "cohorts are not drawn as the accountant assumes; use "
                "--sampling=poisson."
            )
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(f"sampling rate {self.sampling_rate}.")
        if self.sampling == "full" and self.sampling_rate != 1:
            raise ValueError("full participation has sampling rate 1.")

    @property
    def noise_stddev(self) -> float:
        """Standard deviation of the noise on each coordinate of the mean."""
        return self.noise_multiplier * self.clip_norm / self.expected_cohort

    def round_event(self) -> dp_accounting.DpEvent:
        """What one round costs, under adding or removing one client."""
        return dp_accounting.PoissonSampledDpEvent(
            self.sampling_rate,
            dp_accounting.GaussianDpEvent(self.noise_multiplier),
        )


@dataclasses.dataclass(frozen=True)
class AdaptiveClipGaussian(FixedClipGaussian):
    """DP-FedAvg whose clip follows a quantile (Andrew et al. 2021, Alg. 1).

    `clip_norm` is the initial clip. `noise_multiplier` is that of the round as
    a whole: of the vector sum together with the noised count of clients below
    the clip (Theorem 1); the vector's own is a little larger.

    Attributes:
      target_quantile: Fraction of updates to leave unclipped, in (0, 1).
      clip_learning_rate: Geometric step of the clip, > 0.
    """

    target_quantile: float = 0.5
    clip_learning_rate: float = 0.2

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.target_quantile < 1:
            raise UsageError(
                f"--dp_target_quantile={self.target_quantile} must be between "
                "0 and 1."
            )
        _check_positive("--dp_clip_learning_rate", self.clip_learning_rate)

    @property
    def count_stddev(self) -> float:
        """Noise on the count of unclipped clients: cohort / 20 (section 3)."""
        return self.expected_cohort / 20

    @property
    def sum_noise_multiplier(self) -> float:
        """Of the vector sum alone: (z^-2 - (2 count_stddev)^-2)^(-1/2).

        Raises:
          UsageError: The count alone already needs more noise than z allows.
        """
        if self.noise_multiplier >= 2 * self.count_stddev:
            raise UsageError(
                f"--dp_noise_multiplier={self.noise_multiplier:g} is too large "
                f"for adaptive clipping with {self.expected_cohort:g} expected "
                "clients a round: it must be below a tenth of them, so use "
                "more clients a round or --dp=fixed_clip."
            )
        return (
            self.noise_multiplier**-2 - (2 * self.count_stddev) ** -2
        ) ** -0.5


def _check_positive(flag: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(f"{flag}={value:g} must be a positive number.")
