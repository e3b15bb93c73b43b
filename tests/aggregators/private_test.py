import dataclasses

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_cnn.aggregators import private
from tff_cnn.privacy.mechanism import (
    AdaptiveClipGaussian,
    FixedClipGaussian,
    PerLayerClipGaussian,
)

pytestmark = pytest.mark.usefixtures("native_runtime")

FIXED = FixedClipGaussian(2.0, 1.5, 20.0, "poisson", 0.5)
ADAPTIVE = AdaptiveClipGaussian(2.0, 0.5, 20.0, "poisson", 0.5)
PER_LAYER = PerLayerClipGaussian(2.0, 1.5, 20.0, "poisson", 0.5)
SIZE = 20_000


def processes(mechanism, seed=None, size=SIZE):
    return private.build(mechanism, seed).create(
        tff.TensorType(np.float32, (size,))
    )


def release(process, values, state=None):
    return process.next(state or process.initialize(), values).result


@pytest.mark.parametrize(
    ("mechanism", "noise_multiplier"),
    [(FIXED, 1.5), (ADAPTIVE, ADAPTIVE.sum_noise_multiplier)],
)
@pytest.mark.parametrize("seed", [None, 7])
def test_noise_has_the_stated_standard_deviation(
    mechanism, noise_multiplier, seed
):
    # An empty cohort is a legal round: its release is noise alone.
    noise = release(processes(mechanism, seed), [])
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
    process = private.build(quiet).create(
        tff.to_type([(np.float32, (2,)), (np.float32, (1,))])
    )
    long = [np.float32([30, 0]), np.float32([40])]  # Norm 50, clip 2.
    short = [np.float32([0, 1]), np.float32([0])]
    result = process.next(process.initialize(), [long, short]).result
    np.testing.assert_allclose(result[0], np.array([1.2, 1.0]) / 20, atol=1e-5)
    np.testing.assert_allclose(result[1], np.array([1.6]) / 20, atol=1e-5)


@pytest.mark.parametrize("seed", [None, 7])
def test_layers_are_clipped_by_themselves_and_noised_together(seed):
    value_type = tff.to_type([(np.float32, (SIZE,)), (np.float32, (1,))])
    noise = private.build(PER_LAYER, seed).create(value_type)
    first, _ = noise.next(noise.initialize(), []).result
    # As much as one flat clip of the same norm would have.
    assert np.std(first) == pytest.approx(1.5 * 2.0 / 20, rel=0.025)

    quiet = dataclasses.replace(PER_LAYER, noise_multiplier=1e-6)
    process = private.build(quiet, seed).create(
        tff.to_type([(np.float32, (2,)), (np.float32, (1,))])
    )
    value = [np.float32([30, 40]), np.float32([1])]  # Only the first is long.
    result = process.next(process.initialize(), [value]).result
    bound = 2.0 / np.sqrt(2)
    np.testing.assert_allclose(
        result[0], bound * np.array([0.6, 0.8]) / 20, atol=1e-5
    )
    np.testing.assert_allclose(result[1], np.array([1.0]) / 20, atol=1e-5)


def test_real_noise_differs_between_rounds_and_processes():
    first, second = processes(FIXED), processes(FIXED)
    draws = [release(first, []), release(first, []), release(second, [])]
    for i in range(3):
        for j in range(i):
            assert np.abs(np.corrcoef(draws[i], draws[j])[0, 1]) < 0.05


@pytest.mark.parametrize("mechanism", [FIXED, ADAPTIVE])
def test_test_only_noise_is_a_function_of_seed_and_data(mechanism):
    value = np.ones(8, np.float32)
    first = release(processes(mechanism, 7, 8), [value])
    np.testing.assert_array_equal(
        first, release(processes(mechanism, 7, 8), [value])
    )
    others = [
        release(processes(mechanism, 8, 8), [value]),
        release(processes(mechanism, 7, 8), [value * 2]) - value / 20,
    ]
    for other in others:
        assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("seed", [None, 3])
def test_adaptive_clip_moves_towards_the_quantile(seed):
    mechanism = dataclasses.replace(ADAPTIVE, noise_multiplier=0.05)
    process = processes(mechanism, seed, 4)
    state = process.initialize()
    # Norms 0.02 to 0.4; half of 20 clients are below 0.21.
    values = [np.float32([0.02 * i, 0, 0, 0]) for i in range(1, 21)]
    for _ in range(60):
        output = process.next(state, values)
        state = output.state
    clip = output.measurements["dp_query_metrics"]["clip"]
    # The count is noised with standard deviation 1 of 20.
    assert 0.12 < clip < 0.32


def test_an_unknown_mechanism_raises():
    with pytest.raises(TypeError, match="no aggregator for object"):
        private.build(object())

    class Other(FixedClipGaussian):
        """A subclass might count or noise differently."""

    with pytest.raises(TypeError, match="no aggregator for Other"):
        private.build(Other(2.0, 1.5, 20.0, "poisson", 0.5))
