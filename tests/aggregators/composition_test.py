import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators import AGGREGATORS, Mean, SecureSum, order
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.aggregators.secure_sum import IntegerCode, SecureMeanFactory
from tff_cnn.core.chains import ChainRegistry
from tff_cnn.core.errors import UsageError
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import ONLY_A_SUM
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


def with_codec(monkeypatch, **facts):
    """Registers a codec, `Thing`, beside `secure_sum`."""
    registry = ChainRegistry(AGGREGATORS.kind, order.check_order)
    registry.entry(
        "thing",
        f"{__name__}:Thing",
        stage="bits",
        offers=[ONLY_A_SUM],
        **facts,
    )(Thing)
    secure = AGGREGATORS.find("secure_sum")
    registry.entry(
        "secure_sum", secure.builder, offers=secure.offers, **secure.facts
    )(SecureSum)
    place = "tff_cnn.aggregators.composition.AGGREGATORS"
    monkeypatch.setattr(place, registry)
    return registry.chained([Thing(), SecureSum()])


def three_levels():
    return IntegerCode(1, lambda x, seed: tf.round(x))


def test_a_secure_sum_is_of_the_integers_of_a_codec(monkeypatch):
    chain = with_codec(monkeypatch, integer_code=f"{__name__}:three_levels")
    factory = build_aggregator(chain)
    assert isinstance(factory, SecureMeanFactory)
    # 2 * 1 * 2^14 * 1,024 takes 25 bits, where 24 bits a number took 48.
    assert factory.ring.bits == 26
    with pytest.raises(UsageError, match="does not go with dp, under which"):
        build_aggregator(chain, MECHANISM, (1, 2))


def test_a_codec_without_integers_cannot_be_summed(monkeypatch):
    with pytest.raises(UsageError, match="sees only the sum of"):
        with_codec(monkeypatch)


def test_a_mechanism_that_sums_by_itself_goes_with_no_other_sum(monkeypatch):
    def alone(mechanism, noise_seed):
        raise AssertionError

    monkeypatch.setattr("tff_cnn.aggregators.private.fixed_clip", alone)
    with pytest.raises(UsageError, match="dp=fixed_clip sums what clients"):
        build_aggregator(SecureSum(), MECHANISM, (1, 2))
