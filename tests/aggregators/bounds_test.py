import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from hypothesis import given, settings

from tests.aggregators.attacked import HUGE, cohorts, mixed, seeded
from tests.reference import robust
from tff_cnn import runtime
from tff_cnn.aggregators.bounds import (
    Bound,
    build_norm_bounding,
    build_zeroing,
)
from tff_cnn.aggregators.mean import build_mean
from tff_cnn.config import RunConfig

FLOAT = tff.TensorType(np.float32)
D = 3


@pytest.fixture(scope="module", autouse=True)
def in_process():
    runtime.prepare("in_process")
    with runtime.use("in_process", **RunConfig().runtime.opening()):
        yield


def created(factory):
    return factory.create(tff.TensorType(np.float32, (D,)), FLOAT)


@pytest.fixture(scope="module")
def fixed():
    return created(build_norm_bounding(build_mean(), 0.5, None, 0.2))


@pytest.fixture(scope="module")
def adaptive():
    return created(build_norm_bounding(build_mean(), 0.5, 0.6, 0.3))


@pytest.fixture(scope="module")
def zeroing():
    return created(build_zeroing(build_mean(), 1.5, None, 2.0, 2.3))


@pytest.fixture(scope="module")
def adaptive_zeroing():
    return created(build_zeroing(build_mean(), 1.5, 0.8, 3.0, 0.4))


def run(process, state, updates, weights=None):
    weights = np.ones(len(updates)) if weights is None else weights
    output = process.next(
        state, list(np.float32(updates)), list(np.float32(weights))
    )
    return output.state, output.result


def estimate_of(state) -> float:
    return float(state[0])


def test_a_fixed_bound_is_the_references_and_stays(fixed):
    state, updates, weights = fixed.initialize(), seeded(5, D), [1, 2, 3, 4, 5]
    state, found = run(fixed, state, updates, weights)
    expected = np.average(
        [robust.norm_bounded(u, 0.5) for u in updates], 0, weights
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert estimate_of(state) == 0.5


def test_a_bound_that_follows_is_the_references(adaptive):
    state, estimate = adaptive.initialize(), 0.5
    for number in range(4):
        updates = seeded(5, D, number)
        state, found = run(adaptive, state, updates)
        expected = np.mean(
            [robust.norm_bounded(u, estimate) for u in updates], 0
        )
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        norms = np.linalg.norm(updates, axis=1)
        estimate = robust.next_estimate(estimate, norms, 0.6, 0.3)
        assert estimate_of(state) == pytest.approx(estimate, rel=1e-5)


def test_its_rule_is_tffs():
    estimation = tff.aggregators.PrivateQuantileEstimationProcess.no_noise(
        0.5, 0.6, 0.3
    )
    norms = np.float32([0.1, 0.4, 0.45, 2.0, 3.0])
    state = estimation.next(estimation.initialize(), list(norms))
    bound = Bound(0.5, 0.6, 0.3)
    found = bound.after(tf.constant(0.5), tf.constant(3.0), tf.constant(5.0))
    assert float(found) == pytest.approx(estimation.report(state), rel=1e-6)


def test_it_comes_to_the_quantile(adaptive):
    lengths = np.linspace(0.1, 3.0, 10)
    updates = lengths[:, None] * np.eye(D)[0]
    state = adaptive.initialize()
    for _ in range(60):
        state, _ = run(adaptive, state, updates)
    # 6 of 10 are not longer.
    assert lengths[5] * 0.97 <= estimate_of(state) <= lengths[6] * 1.03


def test_who_does_not_count_is_not_in_the_share(adaptive, adaptive_zeroing):
    updates, weights = seeded(4, D), [1, 1, 1, 1]
    nobody = [np.zeros(D), np.full(D, np.nan), np.zeros(D)]
    for process in (adaptive, adaptive_zeroing):
        first = process.initialize()
        expected, result = run(process, first, updates, weights)
        state, found = run(
            process, first, [*updates, *nobody], [*weights, 0, 1, np.nan]
        )
        assert estimate_of(state) == estimate_of(expected)
        np.testing.assert_allclose(found, result, rtol=1e-6)
        state, found = run(process, first, nobody, [0, 1, 0])
        assert estimate_of(state) == estimate_of(first)
        assert not found.any()
        state, _ = run(process, first, [])
        assert estimate_of(state) == estimate_of(first)


def test_zeroing_leaves_clients_out_with_their_weights(zeroing):
    updates = [[1.0, 1.0, 1.5], [0.0, -1.6, 0.0], [0.5, 0.0, 0.0]]
    _, found = run(zeroing, zeroing.initialize(), updates, [1, 5, 3])
    np.testing.assert_allclose(found, [2.5 / 4, 0.25, 0.375])


def test_zeroing_follows_a_quantile_times_a_factor(adaptive_zeroing):
    state = adaptive_zeroing.initialize()
    assert estimate_of(state) == pytest.approx(0.5)  # Times 3 it is 1.5.
    updates = [[0.4, 0, 0], [0, 1.4, 0], [1.6, 0, 0]]
    state, found = run(adaptive_zeroing, state, updates)
    np.testing.assert_allclose(found, [0.2, 0.7, 0.0], rtol=1e-6)
    expected = robust.next_estimate(0.5, [0.4, 1.4, 1.6], 0.8, 0.4)
    assert estimate_of(state) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(found=cohorts(lambda n: n // 2, d=D))
def test_attackers_move_a_mean_by_their_share_of_the_bound(fixed, found):
    honest, bad = found
    n = len(honest) + len(bad)
    state = fixed.initialize()
    _, update = run(fixed, state, mixed(honest, bad))
    _, without = run(fixed, state, mixed(honest, np.zeros_like(bad)))
    moved = np.linalg.norm(update - without)
    assert moved <= 0.5 * len(bad) / n + 1e-5


def test_that_share_is_reached(fixed):
    honest, bad = np.zeros([4, D]), np.array([[HUGE, 0, 0]])
    _, found = run(fixed, fixed.initialize(), mixed(honest, bad))
    np.testing.assert_allclose(found, [0.1, 0, 0], rtol=1e-6)


def test_a_minority_does_not_carry_the_bound_away(adaptive):
    honest = seeded(7, D)
    state = adaptive.initialize()
    for _ in range(40):
        state, _ = run(adaptive, state, mixed(honest, np.full([3, D], HUGE)))
    assert estimate_of(state) <= np.linalg.norm(honest, axis=1).max() * 1.05
