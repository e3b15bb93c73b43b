import dataclasses

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_cnn.aggregators import AGGREGATORS, Mean
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.core.errors import UsageError
from tff_cnn.core.registry import Registry
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation

# Noise of 1e-6 of the clip: small enough to see the mean.
MECHANISM = FixedClipGaussian(10.0, 1e-6, 6.0, Participation("poisson", 0.5))


@dataclasses.dataclass(frozen=True)
class Thing:
    """An aggregator."""


@pytest.fixture
def thing(monkeypatch):
    """Registers `Thing` with a builder."""

    def register(builder, **known):
        registry = Registry(AGGREGATORS.kind)
        registry.entry("thing", builder, **known)(Thing)
        place = "tff_cnn.aggregators.composition.AGGREGATORS"
        monkeypatch.setattr(place, registry)
        return Thing()

    return register


@pytest.mark.usefixtures("native_runtime")
def test_a_private_mean_ignores_weights_and_divides_by_the_expected_cohort():
    values = [np.float32([0.1, 0.2, 0.3]) + np.float32(i) for i in range(3)]
    process = build_aggregator(Mean(), MECHANISM, (1, 2)).create(
        tff.TensorType(np.float32, (3,)), tff.TensorType(np.float32)
    )
    expected = np.sum(values, axis=0) / 6
    for weights in ([1.0, 1.0, 1.0], [5.0, 0.0, 2.0]):
        found = process.next(process.initialize(), values, weights).result
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_chosen_aggregator_is_the_one_that_is_built(thing):
    chosen = thing("tff_cnn.aggregators.mean:build_mean")
    assert isinstance(build_aggregator(chosen), tff.aggregators.MeanFactory)


def test_central_noise_is_for_sums(thing):
    chosen = thing("tff_cnn.aggregators.mean:build_mean")
    with pytest.raises(ValueError, match="thing is no sum"):
        build_aggregator(chosen, MECHANISM, (1, 2))


def test_what_cannot_know_who_counts_is_refused(thing):
    chosen = thing("tensorflow_federated:aggregators.UnweightedMeanFactory")
    with pytest.raises(UsageError, match="Thing is a UnweightedMeanFactory"):
        build_aggregator(chosen)
