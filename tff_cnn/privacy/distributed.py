"""Frozen descriptions of distributed DP under secure aggregation.

Each of the n clients of a round clips and rotates its update, scales it by
`scale`, rounds it to integers and adds integer noise of its own; the server
learns the sum alone, modulo 2^bits, which has the noise of all n:

    discrete Gaussian  Kairouz, Liu & Steinke 2021, Algorithms 1 and 2
    Skellam            Agarwal, Kairouz & Liu 2021, Algorithm 1

The whole noise is there only if all n clients send theirs, so the cohort must
have a size that is fixed, and a client that is not counted still takes part,
with zeros. The server knows the cohort: no sampling amplifies, and a client
pays for every round that it can be in. Rounding is unconditional (the papers'
beta = 0), so that its bound on the norm always holds.
"""

import dataclasses
import functools
import math

import dp_accounting
from scipy import special

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import events
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.privacy.participation import Neighbours

# Probability that a coordinate of the sum wraps around; only accuracy suffers.
_WRAP_PROBABILITY = 1e-4
# Beyond, rounding is negligible, and norms would not fit into int32.
_LARGEST_SCALE = 1e6
# Of the norms that are checked when noise is added, in float32.
_LEEWAY = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributedMechanism(CentralMechanism):
    """What mechanisms with integer noise of the clients have in common.

    `noise_multiplier` is the standard deviation of the whole noise over
    `clip_norm`, as with central noise; the norm that is accounted for is that
    after rounding, which is a little larger.

    Attributes:
      num_parameters: In an update, >= 1; rounding moves each of them.
      bits: Of a coordinate of the sum, in [1, 22].
    """

    num_parameters: int
    bits: int = 20

    adversary = (
        "the server, which sees the cohort and the sum of its updates by "
        "secure aggregation but no single one, all n clients being honest and "
        "none dropping out; and whoever sees the models of all rounds"
    )
    name = ""  # In the registry.

    def __post_init__(self):
        super().__post_init__()
        check_fixed_cohort(self.participation.sampling, self.name)
        if not 1 <= self.bits <= 22:
            raise UsageError(
                f"<dp.bits>={self.bits} must be between 1 and 22: sums are "
                "exact in float32 up to 2^24."
            )
        if self.metric_noise_multiplier is not None:
            raise UsageError(
                f"<dp.metrics> does not go with <dp>={self.name}: no bound is "
                "known for the two together."
            )
        if self.expected_cohort != int(self.expected_cohort):
            raise ValueError(f"a cohort of {self.expected_cohort} clients.")
        if 4**self.bits <= self.num_clients_a_round * self._deviations**2:
            raise UsageError(
                f"<dp.bits>={self.bits} is too small for the sum over "
                f"{self.num_clients_a_round} clients: use more bits."
            )

    @property
    def neighbours(self) -> Neighbours:
        return Neighbours.REPLACE_SPECIAL

    @property
    def num_clients_a_round(self) -> int:
        """Clients of a round, n in the papers."""
        return int(self.expected_cohort)

    @property
    def dimension(self) -> int:
        """Entries of what is rotated: the next power of 2 of the parameters."""
        return 2 ** math.ceil(math.log2(self.num_parameters))

    @property
    def _deviations(self) -> float:
        """Standard deviations of the sum that fit below 2^bits / 2."""
        return math.sqrt(2) * float(special.erfcinv(_WRAP_PROBABILITY))

    @functools.cached_property
    def scale(self) -> float:
        """By which updates are multiplied before they are rounded, 1 / gamma.

        As large as leaves the sum room in its bits (Kairouz et al. 2021,
        section 4.4).
        """
        n, k = self.num_clients_a_round, self._deviations
        squared = (self.clip_norm * n) ** 2 / self.dimension
        squared += (self.clip_norm * self.noise_multiplier) ** 2
        room = math.sqrt(4**self.bits - n * k**2)
        return min(room / (2 * k * math.sqrt(squared)), _LARGEST_SCALE)

    @property
    def scaled_l2(self) -> float:
        """L2 bound of a client's integers: (c + gamma sqrt(d)) / gamma."""
        return (self.clip_norm + _LEEWAY) * self.scale + self.dimension**0.5

    @property
    def scaled_l1(self) -> int:
        """L1 bound of a client's integers, which are at most their squares."""
        return math.ceil(
            self.scaled_l2 * min(self.dimension**0.5, self.scaled_l2)
        )

    @property
    def scaled_local_stddev(self) -> float:
        """Deviation of the noise that a client adds to each of its integers."""
        n = self.num_clients_a_round
        return self.clip_norm * self.noise_multiplier * self.scale / n**0.5

    def noise_stddev(
        self, round_num: int = 1, clip_norm: float | None = None
    ) -> float:
        del round_num, clip_norm
        total = self.scaled_local_stddev * self.num_clients_a_round**0.5
        return total / self.scale / self.expected_cohort

    def one_round(self) -> dp_accounting.DpEvent:
        """What the release of one round's sum costs."""
        raise NotImplementedError

    def event_after(self, rounds: int) -> dp_accounting.DpEvent:
        return dp_accounting.SelfComposedDpEvent(
            self.one_round(), self.participation.max_participations(rounds)
        )

    @property
    def is_amplified(self) -> bool:
        """No: the server knows the cohort."""
        return False

    @property
    def is_repeatable(self) -> bool:
        return False

    def sampling_statement(self) -> str:
        return (
            f"exactly {self.num_clients_a_round} clients a round "
            f"(sampling {self.participation.sampling}), not amplified: the "
            "server knows who takes part, in the worst case in every round"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributedDiscreteGaussian(DistributedMechanism):
    """Discrete Gaussian noise of each client (Kairouz et al. 2021).

    Its sum over clients is no discrete Gaussian, but close to one.
    """

    name = "distributed_discrete_gaussian"

    @property
    def scaled_local_stddev(self) -> float:
        """Rounded up: tensorflow_privacy's sampler takes integers."""
        return float(math.ceil(super().scaled_local_stddev))

    def one_round(self) -> dp_accounting.DpEvent:
        """(epsilon^2 / 2)-zCDP, epsilon as in Theorem 1.

        Of its bounds the simplest: Delta_2 / (sqrt(n) sigma) + tau sqrt(d).
        """
        sigma, n = self.scaled_local_stddev, self.num_clients_a_round
        tau = 10 * sum(
            math.exp(-2 * (math.pi * sigma) ** 2 * k / (k + 1))
            for k in range(1, n)
        )
        epsilon = self.scaled_l2 / (n**0.5 * sigma)
        epsilon += tau * self.dimension**0.5
        return events.ConcentratedDpEvent(epsilon**2 / 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributedSkellam(DistributedMechanism):
    """Skellam noise of each client, which sums to Skellam noise exactly."""

    name = "distributed_skellam"

    def one_round(self) -> dp_accounting.DpEvent:
        return events.SkellamDpEvent(
            l1_sensitivity=float(self.scaled_l1),
            l2_sensitivity=self.scaled_l2,
            variance=self.num_clients_a_round * self.scaled_local_stddev**2,
        )


def check_fixed_cohort(sampling: str, mechanism: str) -> None:
    """Refuses samplers whose cohorts may be smaller than expected.

    Args:
      sampling: Value of <sampling>.
      mechanism: Value of <dp>.

    Raises:
      UsageError: The sampler is none of fixed_size and full.
    """
    if sampling not in ("fixed_size", "full"):
        raise UsageError(
            f"<sampling>={sampling} does not fit <dp>={mechanism}: each client "
            "adds a share of the noise, and a smaller cohort than expected "
            "would have too little of it; use <sampling>=fixed_size or full."
        )
