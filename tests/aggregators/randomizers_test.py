import dataclasses
import functools

import numpy as np
import pytest
import tensorflow_federated as tff
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn import runtime
from tff_cnn.aggregators import Mean
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.aggregators.randomizers import LocalRandomizerFactory
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.privacy.randomizers import LocalGaussian, LocalLaplace

FULL = Participation("full", 1.0)
GAUSSIAN = LocalGaussian(2.0, 1.5, FULL)
LAPLACE = LocalLaplace(2.0, 1.5, FULL)
SIZE = 20_000
SEED = (2**62 + 5, -(2**61) + 3)
TYPE = tff.TensorType(np.float32, (SIZE,))
FLOAT = tff.TensorType(np.float32)


class Collect(tff.aggregators.WeightedAggregationFactory):
    """Sums of what clients send and of their weights."""

    def create(self, value_type, weight_type):
        @tff.federated_computation
        def initialize():
            return tff.federated_value((), tff.SERVER)

        @tff.federated_computation(
            initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
            tff.FederatedType(weight_type, tff.CLIENTS),
        )
        def next_fn(state, value, weight):
            return tff.templates.MeasuredProcessOutput(
                state,
                tff.federated_sum(value),
                tff.federated_sum(weight),
            )

        return tff.templates.AggregationProcess(initialize, next_fn)


def sent(
    mechanism, values, weights=None, value_type=TYPE, seed=SEED, **options
):
    """(sum of what clients send, sum of their weights), on this runtime."""
    process = LocalRandomizerFactory(
        mechanism, Collect(), seed, **options
    ).create(value_type, FLOAT)
    weights = weights or [1.0] * len(values)
    output = process.next(process.initialize(), values, weights)
    return output.result, output.measurements


@pytest.fixture(params=["native", "in_process"])
def each_runtime(request):
    runtime.prepare(request.param)
    with runtime.use(request.param):
        yield


@pytest.mark.usefixtures("each_runtime")
@pytest.mark.parametrize("mechanism", [GAUSSIAN, LAPLACE])
def test_noise_has_the_stated_deviation_and_is_each_clients_own(mechanism):
    zeros = np.zeros(SIZE, np.float32)
    one, _ = sent(mechanism, [zeros])
    assert np.std(one) == pytest.approx(mechanism.stddev, rel=0.04)
    assert abs(np.mean(one)) < 5 * mechanism.stddev / SIZE**0.5
    # Noise that four clients share would have twice this deviation.
    four, _ = sent(mechanism, [zeros] * 4)
    assert np.std(four) == pytest.approx(2 * mechanism.stddev, rel=0.04)


@pytest.mark.usefixtures("each_runtime")
@pytest.mark.parametrize("mechanism", [GAUSSIAN, LAPLACE])
def test_noise_is_new_in_every_round_and_process(mechanism):
    zeros = np.zeros(SIZE, np.float32)
    process = LocalRandomizerFactory(mechanism, Collect(), SEED).create(
        TYPE, FLOAT
    )
    state = process.initialize()
    draws = [process.next(state, [zeros], [1.0]).result for _ in range(3)]
    draws.append(sent(mechanism, [zeros])[0])
    for i in range(4):
        for j in range(i):
            assert abs(np.corrcoef(draws[i], draws[j])[0, 1]) < 0.05


@pytest.mark.usefixtures("native_runtime")
def test_laplace_noise_is_laplace():
    noise, _ = sent(LAPLACE, [np.zeros(SIZE, np.float32)])
    # The mean absolute value of Laplace noise is its scale; a Gaussian's of
    # the same deviation is 13 % larger.
    assert np.mean(np.abs(noise)) == pytest.approx(LAPLACE.scale, rel=0.03)


@pytest.mark.usefixtures("native_runtime")
@pytest.mark.parametrize(
    ("mechanism", "expected"),
    [(GAUSSIAN, [1.2, 1.6]), (LAPLACE, [2 * 3 / 7, 2 * 4 / 7])],
)
def test_updates_are_clipped_as_a_whole(mechanism, expected):
    quiet = dataclasses.replace(mechanism, noise_multiplier=1e-6)
    value_type = tff.to_type([(np.float32, (1,)), (np.float32, (1,))])

    def result(*value):
        value = [np.float32([v]) for v in value]
        return np.concatenate(sent(quiet, [value], value_type=value_type)[0])

    np.testing.assert_allclose(result(30, 40), expected, rtol=1e-4)
    np.testing.assert_allclose(result(0.3, 0.4), [0.3, 0.4], rtol=1e-3)


ENTRIES = st.floats(width=32) | st.sampled_from(
    [3.4e38, -3.4e38, 3e19, np.inf, -np.inf, np.nan, 1e-45]
)


@functools.cache
def processes(mechanism, *shapes):
    process = LocalRandomizerFactory(mechanism, Collect(), SEED).create(
        tff.to_type([(np.float32, shape) for shape in shapes]), FLOAT
    )
    return process, process.initialize()


@pytest.fixture(scope="module")
def in_process():
    with runtime.use("in_process"):
        yield


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(("mechanism", "order"), [(GAUSSIAN, 2), (LAPLACE, 1)])
@settings(deadline=None, max_examples=40)
@given(st.lists(ENTRIES, min_size=5, max_size=5).map(np.float32))
def test_whatever_a_client_has_it_sends_noise_and_the_clip_at_most(
    mechanism, order, entries
):
    expected = np.zeros(5)
    if np.isfinite(entries).all():
        expected = entries.astype(float)
        expected *= 2.0 / max(np.linalg.norm(expected, order), 2.0)
    quiet = dataclasses.replace(mechanism, noise_multiplier=1e-7)
    results = []
    for m in (quiet, mechanism):
        process, state = processes(m, (3,), (2,))
        output = process.next(state, [[entries[:3], entries[3:]]], [1.0])
        results.append(np.concatenate(output.result))
    np.testing.assert_allclose(results[0], expected, atol=1e-5)
    noise = results[1] - expected
    assert np.isfinite(noise).all() and np.abs(noise).max() > 0.05


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("mechanism", [GAUSSIAN, LAPLACE])
@pytest.mark.parametrize("deterministic", [False, True])
def test_each_variable_has_noise_of_its_own(mechanism, deterministic):
    value_type = tff.to_type([(np.float32, (SIZE,))] * 3)
    leaves, _ = sent(
        mechanism,
        [[np.zeros(SIZE, np.float32)] * 3],
        value_type=value_type,
        deterministic=deterministic,
    )
    assert np.abs(np.corrcoef(leaves) - np.eye(3)).max() < 0.05


@pytest.mark.usefixtures("native_runtime")
def test_weights_say_nothing_of_the_data():
    zeros = np.zeros(SIZE, np.float32)
    _, weight = sent(GAUSSIAN, [zeros] * 3, [7.0, 0.0, 2.0])
    assert weight == 3.0


@pytest.mark.usefixtures("native_runtime")
def test_it_comes_before_noise_at_the_server_or_none():
    quiet = LocalGaussian(1.0, 1e-6, FULL)
    central = FixedClipGaussian(10.0, 1e-6, 4.0, Participation("full", 1.0))
    small = tff.TensorType(np.float32, (2,))
    values = [np.float32([30, 40]), np.float32([0, 0.5])]
    for mechanism, divisor in ((None, 2), (central, 4)):
        process = build_aggregator(Mean(), mechanism, SEED, quiet).create(
            small, FLOAT
        )
        output = process.next(process.initialize(), values, [1.0, 0.0])
        np.testing.assert_allclose(
            output.result, np.array([0.6, 1.3]) / divisor, atol=1e-4
        )


@pytest.mark.usefixtures("native_runtime")
def test_test_only_noise_is_a_function_of_seed_and_update():
    small = tff.TensorType(np.float32, (8,))
    ones = np.ones(8, np.float32)

    def noised(value, seed):
        return sent(
            GAUSSIAN, [value], value_type=small, seed=seed, deterministic=True
        )[0]

    first = noised(ones / 2, SEED)
    np.testing.assert_array_equal(first, noised(ones / 2, SEED))
    other = noised(ones / 2, (SEED[0], SEED[1] + 2**40))
    assert np.abs(first - other).min() > 1e-3
    # Both are shorter than the clip, 2, and arrive as they are.
    other = noised(ones / 4, SEED) + 1 / 4
    assert np.abs(first - other).min() > 1e-3


def test_an_unknown_mechanism_raises():
    class Other(LocalGaussian):
        """A subclass might count or noise differently."""

    with pytest.raises(TypeError, match="no randomizer for Other"):
        LocalRandomizerFactory(Other(1.0, 1.0, FULL), Collect(), SEED)
