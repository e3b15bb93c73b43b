"""A cohort's accuracy, released with noise that the ledger pays for.

Each client of the cohort measures the model that it was sent on its own
examples, and sends accuracy - 1/2, in [-1/2, 1/2]. The server releases

    1/2 + (sum over the cohort + N(0, (metric_noise_multiplier / 2)^2))
          / expected_cohort

Centring halves the sensitivity, to 1/2, and keeps the size of the cohort, which
is itself private, from shifting the result (as Andrew et al. 2021, section 3.1,
do for their count). Simulated here rather than in TFF: what is released and
what it costs are the same.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from tff_cnn.core import randomness
from tff_cnn.core.weights import Weights
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.training.loop import Round


class CohortAccuracyHook:
    """Adds `dp_cohort_accuracy` to the row; it may leave [0, 1]."""

    def __init__(
        self,
        accuracies: Callable[[Weights, Sequence[int]], np.ndarray],
        weights: Weights,
        mechanism: CentralMechanism,
        seed: int,
    ):
        """Args:
        accuracies: (weights, cohort) -> each client's, NaN without examples.
        weights: Before the first round.
        mechanism: That the ledger counts; with a metric noise multiplier.
        seed: Root of the noise; whoever knows it can subtract that.

        Raises:
          ValueError: The mechanism does not pay for the metric.
        """
        if mechanism.metric_noise_multiplier is None:
            raise ValueError("the mechanism does not pay for the metric.")
        self._accuracies = accuracies
        self._weights = weights
        self._stddev = mechanism.metric_noise_multiplier / 2
        self._expected_cohort = mechanism.expected_cohort
        self._seed = seed

    def after_round(self, finished: Round) -> None:
        measured = self._accuracies(self._weights, finished.cohort)
        total = math.fsum(a - 0.5 for a in measured if not math.isnan(a))
        rng = randomness.generator(
            self._seed, randomness.Purpose.METRIC_NOISE, finished.number
        )
        noise = rng.normal(0.0, self._stddev)
        finished.row["dp_cohort_accuracy"] = float(
            0.5 + (total + noise) / self._expected_cohort
        )
        self._weights = finished.weights
