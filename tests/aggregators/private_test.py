import dataclasses

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_cnn.aggregators import private
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy.mechanism import (
    AdaptiveClipGaussian,
    FixedClipGaussian,
    PerLayerClipGaussian,
)
from tff_cnn.privacy.participation import Participation

pytestmark = pytest.mark.usefixtures("native_runtime")

POISSON = Participation("poisson", 0.5)
FIXED = FixedClipGaussian(2.0, 1.5, 20.0, POISSON)
ADAPTIVE = AdaptiveClipGaussian(2.0, 0.5, 20.0, POISSON)
PER_LAYER = PerLayerClipGaussian(2.0, 1.5, 20.0, POISSON)
SIZE = 20_000
SEED = (2**62 + 5, -(2**61) + 3)


def processes(mechanism, seed=SEED, size=SIZE):
    return private.build(mechanism, seed).create(
        tff.TensorType(np.float32, (size,))
    )


def release(process, values, state=None):
    return process.next(state or process.initialize(), values).result


@pytest.mark.parametrize(
    ("mechanism", "noise_multiplier"),
    [(FIXED, 1.5), (ADAPTIVE, ADAPTIVE.sum_noise_multiplier)],
)
def test_noise_has_the_stated_standard_deviation(mechanism, noise_multiplier):
    # An empty cohort is a legal round: its release is noise alone.
    noise = release(processes(mechanism), [])
    expected = noise_multiplier * mechanism.clip_norm / 20.0
    # The sample's deviation has relative error 1 / sqrt(2 * SIZE) = 0.5 %.
    assert np.std(noise) == pytest.approx(expected, rel=0.025)
    assert abs(np.mean(noise)) < 5 * expected / np.sqrt(SIZE)


def test_the_aggregator_adds_what_the_accountant_counts():
    for noise_multiplier in (0.5, 3.0):
        mechanism = dataclasses.replace(
            FIXED, noise_multiplier=noise_multiplier
        )
        noise = release(processes(mechanism), [])
        assert np.std(noise) == pytest.approx(
            mechanism.noise_stddev(), rel=0.025
        )
        sampled = mechanism.event_after(1).event
        assert sampled.event.noise_multiplier == noise_multiplier


def test_updates_are_clipped_as_a_whole_and_summed():
    quiet = dataclasses.replace(FIXED, noise_multiplier=1e-6)
    process = private.build(quiet, SEED).create(
        tff.to_type([(np.float32, (2,)), (np.float32, (1,))])
    )
    long = [np.float32([30, 0]), np.float32([40])]  # Norm 50, clip 2.
    short = [np.float32([0, 1]), np.float32([0])]
    result = process.next(process.initialize(), [long, short]).result
    np.testing.assert_allclose(result[0], np.array([1.2, 1.0]) / 20, atol=1e-5)
    np.testing.assert_allclose(result[1], np.array([1.6]) / 20, atol=1e-5)


def test_layers_are_clipped_by_themselves_and_noised_together():
    value_type = tff.to_type([(np.float32, (SIZE,)), (np.float32, (1,))])
    noise = private.build(PER_LAYER, SEED).create(value_type)
    first, _ = noise.next(noise.initialize(), []).result
    # As much as one flat clip of the same norm would have.
    assert np.std(first) == pytest.approx(1.5 * 2.0 / 20, rel=0.025)

    quiet = dataclasses.replace(PER_LAYER, noise_multiplier=1e-6)
    process = private.build(quiet, SEED).create(
        tff.to_type([(np.float32, (2,)), (np.float32, (1,))])
    )
    value = [np.float32([30, 40]), np.float32([1])]  # Only the first is long.
    result = process.next(process.initialize(), [value]).result
    bound = 2.0 / np.sqrt(2)
    np.testing.assert_allclose(
        result[0], bound * np.array([0.6, 0.8]) / 20, atol=1e-5
    )
    np.testing.assert_allclose(result[1], np.array([1.0]) / 20, atol=1e-5)


@pytest.mark.parametrize("mechanism", [FIXED, PER_LAYER, ADAPTIVE])
def test_noise_is_a_function_of_seed_and_round(mechanism):
    def run(seed, value):
        process = processes(mechanism, seed)
        state, results = process.initialize(), []
        for _ in range(2):
            output = process.next(state, [np.full(SIZE, value, np.float32)])
            state = output.state
            results.append(output.result - value / 20)
        return results

    first = run(SEED, 0)
    np.testing.assert_array_equal(first, run(SEED, 0))
    # In the first round the clip is the same for all data.
    np.testing.assert_allclose(first[0], run(SEED, 1e-4)[0], atol=1e-7)
    draws = [*first, run((SEED[0] + 2**40, SEED[1]), 0)[0]]
    draws.append(run((SEED[0], SEED[1] + 2**40), 0)[0])
    correlations = np.corrcoef(draws) - np.eye(4)
    assert np.abs(correlations).max() < 0.05


def test_adaptive_clip_moves_towards_the_quantile():
    mechanism = dataclasses.replace(ADAPTIVE, noise_multiplier=0.05)
    process = processes(mechanism, size=4)
    state = process.initialize()
    # Norms 0.02 to 0.4; half of 20 clients are below 0.21.
    values = [np.float32([0.02 * i, 0, 0, 0]) for i in range(1, 21)]
    for _ in range(60):
        output = process.next(state, values)
        state = output.state
    clip = output.measurements["dp_query_metrics"]["clip"]
    # The count is noised with standard deviation 1 of 20.
    assert 0.12 < clip < 0.32


@pytest.mark.parametrize("seed", [None, 7, (1, 2, 3), np.int32([1, 2])])
def test_a_seed_is_two_int64(seed):
    with pytest.raises(ValueError, match="must be two int64"):
        private.build(FIXED, seed)


def test_an_unknown_mechanism_raises():
    with pytest.raises(TypeError, match="no aggregator for object"):
        private.build(object(), SEED)

    class Other(FixedClipGaussian):
        """A subclass might count or noise differently."""

    with pytest.raises(TypeError, match="no aggregator for Other"):
        private.build(Other(2.0, 1.5, 20.0, POISSON), SEED)


def test_sums_of_something_else_are_for_mechanisms_that_can_have_them(
    monkeypatch,
):
    total = tff.aggregators.SumFactory()
    value_type = tff.TensorType(np.float32, (3,))
    zeros = [np.zeros(3, np.float32)]
    found = [
        release(private.build(FIXED, SEED, **given).create(value_type), zeros)
        for given in ({}, {"total": total})
    ]
    np.testing.assert_array_equal(*found)
    # As a mechanism from elsewhere may add its noise.
    monkeypatch.setattr(private, "fixed_clip", lambda mechanism, seed: total)
    assert private.build(FIXED, SEED) is total
    with pytest.raises(UsageError, match="sums what clients send by itself"):
        private.build(FIXED, SEED, total=total)
