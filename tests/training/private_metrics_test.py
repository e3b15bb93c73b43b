import dataclasses

import numpy as np
import pytest

from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.training import private_metrics
from tff_cnn.training.loop import Round

MECHANISM = FixedClipGaussian(
    0.3, 1.9, 8.0, Participation("poisson", 0.5), metric_noise_multiplier=0.8
)


def after(number, state, cohort):
    return Round(number, state, {}, cohort, get_weights=lambda state: state)


def released(accuracies, mechanism=MECHANISM, first=1, seed=0, count=1):
    """The metric of `count` rounds from `first` on."""
    hook = private_metrics.CohortAccuracyHook(
        lambda weights, cohort: accuracies,
        0.0,
        mechanism,
        seed,
    )
    found = []
    for number in range(first, first + count):
        finished = after(number, 1.0, range(len(accuracies)))
        hook.after_round(finished)
        found.append(finished.row["dp_cohort_accuracy"])
    return np.array(found)


def test_noise_and_mean_are_as_stated():
    # 1/2 + (0.5 + 0.25 + 0.25) / 8; noise 0.8 / 2 / 8.
    found = released([1.0, 0.75, 0.75, np.nan], count=4000)
    assert np.mean(found) == pytest.approx(0.625, abs=0.004)  # 5 sigma.
    assert np.std(found) == pytest.approx(0.05, rel=0.06)


def test_one_client_moves_the_sum_by_a_half_at_most():
    quiet = dataclasses.replace(MECHANISM, metric_noise_multiplier=1e-9)
    without = released([0.6] * 5, quiet)
    for accuracy in (0.0, 1.0):
        moved = 8 * (released([0.6] * 5 + [accuracy], quiet) - without)
        assert abs(moved) == pytest.approx(0.5, abs=1e-6)
    assert released([], quiet) == pytest.approx(0.5)


def test_clients_measure_the_model_that_they_were_sent():
    seen = []
    hook = private_metrics.CohortAccuracyHook(
        lambda weights, cohort: seen.append((weights, list(cohort))) or [],
        "initial",
        MECHANISM,
        seed=0,
    )
    hook.after_round(after(1, "after 1", (3, 4)))
    hook.after_round(after(2, "after 2", (5,)))
    assert seen == [("initial", [3, 4]), ("after 1", [5])]


def test_noise_follows_from_seed_and_round():
    found = [
        released([1.0], seed=seed, first=number)[0]
        for seed in (3, 2**255)
        for number in (1, 2)
    ]
    assert len(set(found)) == 4
    assert released([1.0], seed=2**255, first=2)[0] == found[-1]


def test_a_metric_that_nothing_pays_for_is_refused():
    free = dataclasses.replace(MECHANISM, metric_noise_multiplier=None)
    with pytest.raises(ValueError, match="does not pay"):
        released([1.0], free)
