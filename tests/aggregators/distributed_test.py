import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.privacy.distributed_test import KINDS, build
from tff_cnn import runtime
from tff_cnn.aggregators import distributed, private
from tff_cnn.aggregators.masking import execution
from tff_cnn.aggregators.masking.execution import Masking
from tff_cnn.core.errors import UsageError
from tff_cnn.training.engines import federated

SEED = (2**62 + 5, -(2**61) + 3)


@pytest.fixture(autouse=True)
def in_process():
    with runtime.use("in_process"):
        yield


def process_of(kind, size=3000, cohort=8, noise_multiplier=2.0, **changed):
    mechanism = build(
        kind,
        cohort,
        num_parameters=size,
        noise_multiplier=noise_multiplier,
        **changed,
    )
    return mechanism, private.build(mechanism, SEED).create(
        tff.TensorType(np.float32, (size,))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_mean_over_the_expected_cohort(kind):
    _, process = process_of(kind, noise_multiplier=1e-3)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(8, 3000)).astype(np.float32)
    values *= 0.4 / np.linalg.norm(values, axis=1, keepdims=True)
    output = process.next(process.initialize(), list(values))
    np.testing.assert_allclose(output.result, values.mean(axis=0), atol=5e-4)
    measured = output.measurements["dp"]
    assert measured["num_clients"] == 8 and measured["num_clipped"] == 0
    assert measured["sum_norm"] == pytest.approx(
        np.linalg.norm(values.sum(axis=0)), rel=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_those_of_the_integers_that_are_summed(kind):
    mechanism, process = process_of(kind)
    zeros = [np.zeros(3000, np.float32)] * 8
    output = process.next(process.initialize(), zeros)
    # Rotated, 3,000 numbers are 4,096.
    size = -(-mechanism.bits // 8)
    row = federated.row({"aggregator": output.measurements, "client_work": {}})
    assert row["bytes_up"] == 8 * 4096 * size
    # As a protocol sends them.
    with execution.of_round(Masking(0.6), 0, 1) as report:
        process.next(process.initialize(), zeros)
    protocol = 8 * (64 + 7 * 98 + 4 + 8 * 37)
    assert report.bytes_up == 8 * 4096 * size + protocol


@pytest.mark.parametrize("kind", KINDS)
def test_no_client_moves_it_further_than_the_clip(kind):
    mechanism, process = process_of(kind, noise_multiplier=1e-3)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(8, 3000)).astype(np.float32)
    values *= 0.4 / np.linalg.norm(values, axis=1, keepdims=True)
    honest = process.next(process.initialize(), list(values)).result
    for scale in (-1e6, 1e25):
        values[0] *= np.float32(scale)
        found = process.next(process.initialize(), list(values))
        assert found.measurements["dp"]["num_clipped"] == 1
        distance = np.linalg.norm(found.result - honest)
        # It has sent 0.4 of the clip; and rounding and noise.
        noise = 2 * 3000**0.5 * mechanism.noise_stddev()
        assert distance <= (mechanism.clip_norm + 0.4) / 8 + noise + 1e-3
        assert distance >= (mechanism.clip_norm - 0.4) / 8 - noise - 1e-3


def test_updates_longer_than_the_mechanism_counts_are_refused():
    """Rounding moves each number, so that its bound would not hold."""
    mechanism = build(KINDS[0], 8, num_parameters=3000, noise_multiplier=2.0)
    factory = private.build(mechanism, SEED)
    with pytest.raises(ValueError, match="4000 numbers, .* counts 3000"):
        factory.create(
            tff.types.to_type([(np.float32, (3000,)), (np.float32, (1000,))])
        )


@pytest.mark.parametrize("kind", KINDS)
def test_all_clients_and_rounds_have_noise_of_their_own(kind):
    mechanism, process = process_of(kind)
    zeros = [np.zeros(3000, np.float32)] * 8
    state, draws = process.initialize(), []
    for _ in range(3):
        output = process.next(state, zeros)
        draws.append(output.result)
    # Noise that all clients share would have sqrt(8) times this deviation.
    for draw in draws:
        assert np.std(draw) == pytest.approx(mechanism.noise_stddev(), rel=0.06)
    for i in range(3):
        for j in range(i):
            assert abs(np.corrcoef(draws[i], draws[j])[0, 1]) < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_each_variable_and_call_has_noise_of_its_own(kind):
    query = distributed._QUERIES[kind](build(kind, 8), SEED)
    params = query.derive_sample_params(query.initial_global_state())
    zeros = [tf.zeros([50, 60], tf.int32), tf.zeros([3000], tf.int32)]
    draws = [
        np.ravel(leaf)
        for _ in range(2)
        for leaf in query.preprocess_record(params, zeros)
    ]
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.1
    for draw in draws:
        assert np.std(draw) == pytest.approx(params.local_stddev, rel=0.07)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_that_clients_draw_cannot_be_seeded(kind):
    with pytest.raises(UsageError, match="test_only_deterministic_noise"):
        private.build(build(kind), SEED, deterministic=True)
