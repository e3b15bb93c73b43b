import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.privacy.correlated_test import BANDED, BLT, RELEASE, TREE
from tests.privacy.factorization_test import dense
from tff_cnn import runtime
from tff_cnn.aggregators import correlated, noise, private

ROUNDS = 20
SIZE = 20_000
SEED = (2**62 + 5, -(2**61) + 3)
QUERIES = [
    (BANDED, correlated.banded_query),
    (BLT, correlated.blt_query),
]
MECHANISMS = [
    RELEASE,
    TREE,
    dataclasses.replace(TREE, single_tree=True),
    BANDED,
    BLT,
]


@pytest.fixture
def drawn(monkeypatch):
    """The noise that the queries draw, in the order of drawing."""
    rng, record = np.random.default_rng(3), []

    def draw(specs, stddev, seed, step):
        assert (seed, step) == (SEED, len(record))
        record.append(
            tf.nest.map_structure(
                lambda spec: rng.normal(0, stddev, spec.shape).astype("f4"),
                specs,
            )
        )
        return record[-1]

    monkeypatch.setattr(noise, "normal", draw)
    return record


@pytest.mark.parametrize(("mechanism", "build"), QUERIES, ids=["banded", "blt"])
def test_streaming_noise_is_the_inverse_times_the_drawn_noise(
    mechanism, build, drawn
):
    specs = [tf.TensorSpec([3, 2]), tf.TensorSpec([4])]
    query = build(mechanism, specs, SEED)
    state = query.initial_global_state()
    sums = [np.ones([3, 2], "f4"), np.zeros(4, "f4")]
    released = []
    for _ in range(ROUNDS):
        result, state, _ = query.get_noised_result(sums, state)
        released.append(
            np.concatenate([np.ravel(result[0]) - 1, np.ravel(result[1])])
        )
    column = mechanism.column
    column = column(ROUNDS) if callable(column) else column
    z = [np.concatenate([np.ravel(leaf) for leaf in r]) for r in drawn]
    expected = np.linalg.inv(dense(column, ROUNDS)) @ np.array(z)
    np.testing.assert_allclose(released, expected, atol=2e-5)
    assert np.std(z) == pytest.approx(1.0, rel=0.2)  # 2.0 times the clip, 0.5.


def total_gain(mechanism):
    """Deviation of the noise of the first eight rounds' total, over that of z.

    With fresh noise it would be sqrt(8) = 2.8.
    """
    if mechanism.name == "release":
        return 1.0
    if mechanism.name == "tree":
        return 1 / np.sqrt(2 - 1 / 8)  # One node of level 3 (Honaker 2015).
    column = mechanism.column
    column = column(8) if callable(column) else column
    return np.linalg.norm(np.linalg.inv(dense(column, 8)).sum(axis=0))


@pytest.mark.usefixtures("native_runtime")
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_each_round_has_noise_of_the_stated_standard_deviation(mechanism):
    process = private.build(mechanism, SEED).create(
        tff.TensorType(np.float32, (SIZE,))
    )
    state, totals = process.initialize(), np.zeros(SIZE)
    for round_num in range(1, 11):
        output = process.next(state, [])
        state = output.state
        assert np.std(output.result) == pytest.approx(
            mechanism.noise_stddev(round_num), rel=0.03
        )
        totals += output.result
        if round_num == 8:
            assert mechanism.total_noise_gain(8) == pytest.approx(
                total_gain(mechanism)
            )
            expected = total_gain(mechanism) * 2.0 * 0.5 / 50
            assert np.std(totals) == pytest.approx(expected, rel=0.03)


@pytest.mark.usefixtures("native_runtime")
def test_a_tree_is_restarted_after_each_epoch():
    process = private.build(TREE, SEED).create(
        tff.TensorType(np.float32, (SIZE,))
    )
    state, noises = process.initialize(), []
    for _ in range(16):
        output = process.next(state, [])
        state = output.state
        noises.append(output.result)
    assert TREE.total_noise_gain(16) == pytest.approx(
        np.sqrt(2) * total_gain(TREE)
    )
    assert TREE.total_noise_gain(11) == pytest.approx(
        np.sqrt(1 / (2 - 1 / 8) + 1 / (2 - 1 / 2) + 1)
    )
    # Totals of the two trees are independent; a restart drops no noise.
    first, second = np.sum(noises[:8], axis=0), np.sum(noises[8:], axis=0)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    for total in (first, second):
        assert np.std(total) == pytest.approx(
            total_gain(TREE) * 2.0 * 0.5 / 50, rel=0.03
        )


@pytest.mark.usefixtures("native_runtime")
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_updates_are_clipped_as_a_whole_summed_and_divided(mechanism):
    quiet = dataclasses.replace(mechanism, noise_multiplier=1e-6)
    process = private.build(quiet, SEED).create(
        tff.to_type([(np.float32, (2,)), (np.float32, (1,))])
    )
    long = [np.float32([30, 0]), np.float32([40])]  # Norm 50, clip 0.5.
    short = [np.float32([0, 0.25]), np.float32([0])]
    state = process.initialize()
    for _ in range(3):
        output = process.next(state, [long, short])
        state = output.state
        np.testing.assert_allclose(
            output.result[0], np.array([0.3, 0.25]) / 50, atol=1e-6
        )
        np.testing.assert_allclose(
            output.result[1], np.array([0.4]) / 50, atol=1e-6
        )


@pytest.mark.usefixtures("native_runtime")
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_noise_continues_from_the_state(mechanism):
    value_type = tff.TensorType(np.float32, (500,))

    def run(seed, state=None, rounds=6):
        process = private.build(mechanism, seed).create(value_type)
        state, results = state or process.initialize(), []
        for _ in range(rounds):
            output = process.next(state, [np.ones(500, np.float32)])
            state = output.state
            results.append(output.result)
        return np.array(results), state

    whole, _ = run(SEED)
    begun, state = run(SEED, rounds=3)
    rest, _ = run(SEED, state, rounds=3)
    np.testing.assert_array_equal(whole, np.concatenate([begun, rest]))
    other = run((SEED[0], SEED[1] + 2**40))[0]
    for mine, yours in zip(whole, other, strict=True):
        assert abs(np.corrcoef(mine, yours)[0, 1]) < 0.25


@pytest.mark.parametrize("single_tree", [False, True])
def test_two_continuations_of_a_state_share_no_noise(single_tree):
    """Else the difference of what they release would be that of their data."""
    mechanism = dataclasses.replace(TREE, single_tree=single_tree)
    type_ = tff.TensorType(np.float32, [400])
    seeds = np.array([[1, 2], [3, 4]], np.int64)
    first, second = (
        private.build(mechanism, seed).create(type_) for seed in seeds
    )
    nobody = np.zeros([1, 400], np.float32)
    somebody = nobody + np.float32(0.01)
    with runtime.use("in_process"):
        state = first.initialize()
        for _ in range(2):
            state = first.next(state, list(nobody)).state
        released = first.next(state, list(nobody)).result
        new = correlated.with_new_tree(state, second.initialize())
        again = second.next(new, list(somebody)).result
        shared = second.next(state, list(somebody)).result
    # As it would be without: the difference is the data's alone.
    assert np.std(shared - released) < 1e-6
    deviation = np.std(again - released)
    expected = mechanism.noise_stddev(3) ** 2 + mechanism.noise_stddev(1) ** 2
    assert deviation == pytest.approx(expected**0.5, rel=0.2)


def test_states_without_a_tree_stay_as_they_are():
    state = {"a": np.float32(3), "tree": (np.int32(4),)}
    fresh = {"a": np.float32(1), "tree": (np.int32(2),)}
    assert correlated.with_new_tree(state, fresh) == state
