"""Frozen descriptions of mechanisms with noise that is fresh in every round.

One object both configures the aggregator that adds the noise
(`tff_cnn.aggregators.private`) and yields the event that the accountant counts
(`event_after`), so the two cannot drift apart. `tff_cnn.privacy.correlated`
has the mechanisms whose noise is correlated over rounds.
"""

import dataclasses
import math

import dp_accounting

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy.participation import (
    NEIGHBOURS,
    Neighbours,
    Participation,
)


@dataclasses.dataclass(frozen=True)
class CentralMechanism:
    """What the mechanisms at the aggregation stage have in common.

    Attributes:
      clip_norm: L2 bound of a client's whole update, > 0. With it the sum's
        sensitivity to adding or removing one client is `clip_norm`.
      noise_multiplier: Noise standard deviation over `clip_norm`, > 0.
      expected_cohort: Expected clients a round, > 0. The divisor of the mean:
        dividing by the actual size would release it and change the
        sensitivity.
      participation: How cohorts are drawn; it decides the event.
      metric_noise_multiplier: Where set, each round also releases the sum over
        the cohort of (accuracy - 1/2), with Gaussian noise of this many times
        its sensitivity, 1/2 (`tff_cnn.training.private_metrics`); > 0.
    """

    clip_norm: float
    noise_multiplier: float
    expected_cohort: float
    participation: Participation
    metric_noise_multiplier: float | None = None

    stage = "aggregation"  # Where noise enters; for the ledger.
    prefix = "dp"  # See `privacy.Stage`.
    choice = "dp"
    unit = "client"
    combination = (
        "Noise that is added to the released models on top of this is "
        "post-processing and lowers no epsilon; noise that clients add to "
        "their own updates or examples has a unit and an epsilon of its own, "
        "which is stated beside this one and not added to it."
    )
    adversary = (
        "whoever sees the models of all rounds, other clients included, but "
        "not the server, which sees raw updates"
    )

    def __post_init__(self):
        check_positive("<dp.clip_norm>", self.clip_norm)
        check_positive("<dp.noise_multiplier>", self.noise_multiplier)
        if self.metric_noise_multiplier is not None:
            check_positive(
                "metric noise multiplier", self.metric_noise_multiplier
            )

    @property
    def neighbours(self) -> Neighbours:
        """The relation under which the events hold."""
        return self.participation.neighbours

    @property
    def neighbouring_relation(self) -> str:
        """`neighbours` in words: what two adjacent populations differ in."""
        return NEIGHBOURS[self.neighbours]

    @property
    def is_amplified(self) -> bool:
        """Whether the events assume that nobody knows the cohorts."""
        return self.participation.is_amplified

    @property
    def is_repeatable(self) -> bool:
        """Whether a round computed again has the same noise.

        Not where clients draw it in the aggregation, which does not know one
        client from another: TensorFlow's own generator tells them apart.
        """
        return True

    def sampling_statement(self) -> str:
        """The sampling assumption in words."""
        return self.participation.statement()

    def event_after(self, rounds: int) -> dp_accounting.DpEvent:
        """What the first `rounds` >= 1 rounds cost together."""
        raise NotImplementedError

    def events_after(self, rounds: int) -> tuple[dp_accounting.DpEvent, ...]:
        """Events of which one befalls a unit; the worst counts."""
        return (self.event_after(rounds),)

    def noise_stddev(
        self, round_num: int = 1, clip_norm: float | None = None
    ) -> float:
        """Standard deviation of the noise on a coordinate of a round's mean.

        Args:
          round_num: From 1.
          clip_norm: That of the round, where it moves; None is `clip_norm`.
        """
        clip_norm = self.clip_norm if clip_norm is None else clip_norm
        independent = self.sum_noise_multiplier * clip_norm
        return self.noise_gain(round_num) * independent / self.expected_cohort

    def noise_gain(self, round_num: int) -> float:
        """Deviation of a round's noise over that of independent noise."""
        del round_num
        return 1.0

    def total_noise_gain(self, rounds: int) -> float:
        """Deviation of the noise of so many rounds' sum, as `noise_gain`."""
        return math.sqrt(rounds)

    @property
    def sum_noise_multiplier(self) -> float:
        """Noise on the sum of updates, without metrics, over `clip_norm`."""
        return self.noise_multiplier


@dataclasses.dataclass(frozen=True)
class FixedClipGaussian(CentralMechanism):
    """Client-level central DP-FedAvg (McMahan et al. 2018, Algorithm 1).

    A round releases (sum over the cohort of clipped updates + N(0, (clip_norm
    * noise_multiplier)^2 I)) / expected_cohort.
    """

    def event_after(self, rounds: int) -> dp_accounting.DpEvent:
        return self.participation.independent_noise(
            self.joint_noise_multiplier, rounds
        )

    @property
    def joint_noise_multiplier(self) -> float:
        """Noise multiplier of update and metric: (z^-2 + z_m^-2)^(-1/2).

        Both are scaled by their sensitivities and noised for the same cohort,
        which makes them one Gaussian release.
        """
        if self.metric_noise_multiplier is None:
            return self.noise_multiplier
        return (
            self.noise_multiplier**-2 + self.metric_noise_multiplier**-2
        ) ** -0.5


@dataclasses.dataclass(frozen=True)
class PerLayerClipGaussian(FixedClipGaussian):
    """DP-FedAvg with a clip for each variable (McMahan et al. 2018, section 3).

    Each of the model's n variables is clipped to clip_norm / sqrt(n), so that
    an update as a whole has norm `clip_norm` at most. All variables are
    released together with the same noise: that is one Gaussian mechanism of
    sensitivity `clip_norm`, and not n of them.
    """


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
                f"<dp.target_quantile>={self.target_quantile} must be between "
                "0 and 1."
            )
        check_positive("<dp.clip_learning_rate>", self.clip_learning_rate)

    @property
    def count_stddev(self) -> float:
        """Noise on the count of unclipped clients: cohort / 20 (section 3)."""
        return self.expected_cohort / 20

    @property
    def sum_noise_multiplier(self) -> float:
        """Noise on the sum alone: (z^-2 - (2 count_stddev)^-2)^(-1/2).

        Raises:
          UsageError: The count alone already needs more noise than z allows.
        """
        if self.noise_multiplier >= 2 * self.count_stddev:
            raise UsageError(
                f"<dp.noise_multiplier>={self.noise_multiplier:g} is too large "
                f"for adaptive clipping with {self.expected_cohort:g} expected "
                "clients a round: it must be below a tenth of them, so use "
                "more clients a round or <dp>=fixed_clip."
            )
        return (
            self.noise_multiplier**-2 - (2 * self.count_stddev) ** -2
        ) ** -0.5


def check_positive(name: str, value: float) -> None:
    """Raises `UsageError` unless `value` is a positive, finite number."""
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(f"{name}={value:g} must be a positive number.")
