import numpy as np
import pytest
import tensorflow_federated as tff
from hypothesis import given, settings

from tests.aggregators.attacked import HUGE, cohorts, mixed, seeded
from tests.reference import robust
from tff_cnn import runtime
from tff_cnn.aggregators.centered_clipping import CenteredClippingFactory
from tff_cnn.config import RunConfig

FLOAT = tff.TensorType(np.float32)
D = 3


@pytest.fixture(scope="module", autouse=True)
def in_process():
    runtime.prepare("in_process")
    with runtime.use("in_process", **RunConfig().runtime.opening()):
        yield


def process_of(radius: float, steps: int):
    factory = CenteredClippingFactory(radius, steps)
    return factory.create(tff.TensorType(np.float32, (D,)), FLOAT)


@pytest.fixture(scope="module")
def once():
    return process_of(0.5, 1)


@pytest.fixture(scope="module")
def thrice():
    return process_of(0.5, 3)


def run(process, state, updates, weights=None):
    weights = np.ones(len(updates)) if weights is None else weights
    output = process.next(
        state, list(np.float32(updates)), list(np.float32(weights))
    )
    return output.state, output.result


@pytest.mark.parametrize(("name", "steps"), [("once", 1), ("thrice", 3)])
def test_rounds_are_the_references(name, steps, request):
    process = request.getfixturevalue(name)
    state, centre = process.initialize(), np.zeros(D)
    for number in range(3):
        updates = seeded(5, D, number)
        state, found = run(process, state, updates)
        centre = robust.centered_clipping(updates, centre, 0.5, steps)
        np.testing.assert_allclose(found, centre, atol=1e-5)
        np.testing.assert_array_equal(state, found)


def test_within_the_radius_it_is_the_mean_whatever_was_before():
    process = process_of(100.0, 1)
    state, _ = run(process, process.initialize(), seeded(4, D))
    updates = seeded(5, D, 1)
    _, found = run(process, state, updates)
    np.testing.assert_allclose(found, updates.mean(0), atol=1e-5)


def test_each_client_counts_the_same(once):
    updates = seeded(4, D)
    _, expected = run(once, once.initialize(), updates)
    _, found = run(once, once.initialize(), updates, [1, 50, 1e9, 1])
    np.testing.assert_array_equal(found, expected)


def test_a_round_of_nobody_moves_nothing_and_keeps_the_centre(once):
    state, _ = run(once, once.initialize(), seeded(4, D))
    assert np.asarray(state).any()
    after, found = run(once, state, [])
    assert not found.any()
    np.testing.assert_array_equal(after, state)
    after, found = run(once, state, np.full([2, D], np.nan))
    assert not found.any()
    np.testing.assert_array_equal(after, state)


def test_numbers_whose_difference_is_no_float32(once):
    largest = float(np.finfo(np.float32).max)
    state = np.full(D, -largest, np.float32)
    _, found = run(once, state, np.full([1, D], largest))
    assert np.all(np.isfinite(found))


@settings(max_examples=25, deadline=None)
@given(found=cohorts(lambda n: n // 3, d=D))
def test_attackers_move_it_by_their_share_of_the_radius(once, found):
    honest, bad = found
    n = len(honest) + len(bad)
    centre = np.float32([0.5, -1.0, 0.0])
    _, update = run(once, centre, mixed(honest, bad))
    _, at_centre = run(
        once, centre, mixed(honest, np.tile(centre, (len(bad), 1)))
    )
    moved = np.linalg.norm(update - at_centre)
    assert moved <= 0.5 * len(bad) / n + 1e-5


def test_that_share_is_reached(once):
    honest = np.zeros([4, D])
    bad = np.zeros([1, D])
    bad[0, 0] = HUGE
    _, found = run(once, np.zeros(D, np.float32), mixed(honest, bad))
    np.testing.assert_allclose(found, [0.1, 0, 0], rtol=1e-6)
