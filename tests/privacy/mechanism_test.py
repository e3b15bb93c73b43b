import dataclasses

import dp_accounting
import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy.mechanism import (
    AdaptiveClipGaussian,
    FixedClipGaussian,
    PerLayerClipGaussian,
)
from tff_cnn.privacy.participation import Participation

POISSON = Participation("poisson", 0.5)
FIXED = FixedClipGaussian(0.3, 1.9, 150.0, POISSON)
ADAPTIVE = AdaptiveClipGaussian(0.3, 1.9, 150.0, POISSON)


PER_LAYER = PerLayerClipGaussian(0.3, 1.9, 150.0, POISSON)


@pytest.mark.parametrize("mechanism", [FIXED, PER_LAYER, ADAPTIVE])
def test_event_is_that_of_the_fields(mechanism):
    assert mechanism.event_after(7) == dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(
            0.5, dp_accounting.GaussianDpEvent(1.9)
        ),
        7,
    )


@pytest.mark.parametrize("mechanism", [FIXED, PER_LAYER, ADAPTIVE])
def test_a_metric_is_paid_for_as_part_of_the_same_release(mechanism):
    with_metric = dataclasses.replace(mechanism, metric_noise_multiplier=7.6)
    event = with_metric.event_after(3).event.event
    # Four times the noise: a sixteenth more of the squared loss.
    assert event.noise_multiplier == pytest.approx(1.9 / (1 + 1 / 16) ** 0.5)
    with pytest.raises(UsageError, match="metric noise multiplier=0"):
        dataclasses.replace(mechanism, metric_noise_multiplier=0.0)


def test_noise_on_the_mean():
    assert FIXED.noise_stddev() == pytest.approx(1.9 * 0.3 / 150)
    assert FIXED.noise_stddev(5, clip_norm=0.6) == pytest.approx(
        1.9 * 0.6 / 150
    )
    assert ADAPTIVE.noise_stddev() == pytest.approx(
        ADAPTIVE.sum_noise_multiplier * 0.3 / 150
    )


def test_adaptive_splits_the_noise_as_andrew_et_al_theorem_1():
    # Two releases with multipliers z_sum and 2 * count_stddev compose to z.
    total = (
        ADAPTIVE.sum_noise_multiplier**-2 + (2 * ADAPTIVE.count_stddev) ** -2
    )
    assert total**-0.5 == pytest.approx(1.9)
    assert ADAPTIVE.sum_noise_multiplier > 1.9
    assert ADAPTIVE.count_stddev == 7.5


def test_adaptive_with_too_few_clients_for_its_noise_is_refused():
    few = dataclasses.replace(ADAPTIVE, expected_cohort=19.0)
    with pytest.raises(UsageError, match="too large for adaptive clipping"):
        _ = few.sum_noise_multiplier


@pytest.mark.parametrize("field", ["clip_norm", "noise_multiplier"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_clip_and_noise_must_be_positive(field, value):
    with pytest.raises(UsageError, match=f"dp.{field}"):
        dataclasses.replace(FIXED, **{field: value})


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FIXED.noise_multiplier = 0.1
