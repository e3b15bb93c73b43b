import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.privacy.correlated_test import BANDED, BLT, RELEASE, TREE
from tff_cnn.aggregators import correlated, gaussian, noise

SEED = np.array([2**62 + 5, -(2**61) + 3])
SMALL = st.integers(0, 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None)
@given(st.tuples(INT64, INT64), st.sets(st.tuples(SMALL, SMALL), min_size=2))
def test_steps_and_leaves_have_distinct_seeds(seed, places):
    streams = {
        tuple(noise.stream(np.array(seed), *place).numpy()) for place in places
    }
    assert len(streams) == len(places)


def test_all_128_bits_of_a_seed_decide_the_noise():
    specs = [tf.TensorSpec([4])]
    words = np.tile(SEED.view(np.uint64), (129, 1))
    for bit in range(128):
        words[bit, bit // 64] ^= np.uint64(1 << bit % 64)
    drawn = [
        tuple(noise.normal(specs, 1.0, seed, 0)[0].numpy())
        for seed in words.view(np.int64)
    ]
    # Not one number in common, and no correlation with the seed's own noise.
    assert len(set(itertools.chain(*drawn))) == 4 * 129
    assert abs(np.mean(np.array(drawn[:-1]) @ np.array(drawn[-1]))) < 1


def test_noise_is_normal_and_independent_over_leaves_and_steps():
    specs = [tf.TensorSpec([100, 200]), tf.TensorSpec([20_000])]
    drawn = [
        np.ravel(leaf)
        for step in (0, 1)
        for leaf in noise.normal(specs, 3.0, SEED, tf.constant(step))
    ]
    for leaf in drawn:
        assert np.std(leaf) == pytest.approx(3.0, rel=0.025)
        assert abs(np.mean(leaf)) < 0.11  # 5 standard deviations.
        assert np.mean(np.abs(leaf) < 3.0) == pytest.approx(0.6827, abs=0.017)
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 0.05


def test_a_clients_seed_is_new_in_every_call_and_as_secret_as_the_seed(
    monkeypatch,
):
    @tf.function
    def draw():
        return noise.client_seed(SEED)

    found = np.array([draw().numpy() for _ in range(4)])
    assert len(np.unique(found)) == 8
    # Both components have all their bits: the largest of 8 is not small.
    assert (np.abs(found.astype(float)).max(axis=0) > 2**58).all()

    own = np.array([2**63 - 1, -5])
    monkeypatch.setattr(tf.random, "uniform", lambda *_, **__: tf.constant(own))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(noise.client_seed(SEED), SEED + own)


@pytest.fixture
def streams(monkeypatch):
    """The seeds that are drawn from, where functions run eagerly."""
    found, stream = [], noise.stream

    def record(*arguments):
        found.append(tuple(stream(*arguments).numpy()))
        return found[-1]

    monkeypatch.setattr(noise, "stream", record)
    tf.config.run_functions_eagerly(True)
    yield found
    tf.config.run_functions_eagerly(False)


SPECS = [tf.TensorSpec([2]), tf.TensorSpec([2])]
QUERIES = {
    "fixed": lambda: gaussian.GaussianSumQuery(1.0, 1.0, SEED),
    "per_layer": lambda: gaussian.PerLayerSumQuery(1.0, 1.0, SEED),
    "adaptive": lambda: gaussian.AdaptiveClipSumQuery(
        SEED,
        initial_l2_norm_clip=1.0,
        noise_multiplier=1.0,
        target_unclipped_quantile=0.5,
        learning_rate=0.2,
        clipped_count_stddev=1.0,
        expected_num_records=20.0,
    ),
    "tree": lambda: correlated.tree_query(TREE, SPECS, SEED),
    "single_tree": lambda: correlated.tree_query(
        dataclasses.replace(TREE, single_tree=True), SPECS, SEED
    ),
    "banded": lambda: correlated.banded_query(BANDED, SPECS, SEED),
    "blt": lambda: correlated.blt_query(BLT, SPECS, SEED),
    "release": lambda: correlated.release_query(RELEASE, SPECS, SEED),
}
# Of 20 rounds. A tree of n leaves has 2n - 1 nodes, less those that are not
# complete; the next leaf is drawn ahead, which starts a tree anew as well.
DRAWS = {
    **dict.fromkeys(QUERIES, 20 * 2),
    "adaptive": 20 * 3,
    "tree": 2 * (8 + 7 + 1 + 8 + 7 + 1 + 4 + 3 + 1),
    "single_tree": 2 * (20 + 18 + 1),
}


@pytest.mark.parametrize("name", QUERIES)
def test_no_two_draws_share_a_seed(name, streams):
    query = QUERIES[name]()
    state = query.initial_global_state()
    sums = query.initial_sample_state([tf.zeros(2), tf.zeros(2)])
    for _ in range(20):
        _, state, _ = query.get_noised_result(sums, state)
    assert len(set(streams)) == len(streams) == DRAWS[name]
