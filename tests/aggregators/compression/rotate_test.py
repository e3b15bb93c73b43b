import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_federated.python.aggregators import hadamard as tffs

from tests.aggregators.compression import drawing
from tests.reference import compression as reference
from tff_cnn.aggregators.codecs import Codecs, Seeds
from tff_cnn.aggregators.compression import rotate
from tff_cnn.aggregators.compression.one_bit import OneBit
from tff_cnn.aggregators.compression.rotate import Rotate
from tff_cnn.aggregators.encoded import own_seed


@pytest.mark.parametrize("power", [0, 1, 3, 6, 7, 12, 13])
def test_the_transform_is_hadamards_and_its_own_inverse(power):
    size = 2**power
    vector = np.random.default_rng(power).standard_normal(size)
    given = tf.constant(vector, tf.float32)
    found = rotate.hadamard(given)
    if size <= 4096:
        np.testing.assert_allclose(
            found, reference.hadamard(size) @ vector, atol=1e-5
        )
    # TFF's is the same.
    expected = tffs.fast_walsh_hadamard_transform(given[tf.newaxis])
    np.testing.assert_allclose(found, expected[0], atol=1e-5)
    np.testing.assert_allclose(rotate.hadamard(found), vector, atol=1e-5)


@given(st.integers(1, 10**8))
def test_blocks_are_powers_of_two_and_hardly_more(size):
    lengths = rotate.block_lengths(size)
    assert all(length & (length - 1) == 0 for length in lengths)
    assert 0 <= sum(lengths) - size <= max(size // 64, 63)
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) <= 8


@drawing.unhurried
@given(drawing.vectors)
def test_it_comes_back_with_its_norm(vector):
    leaves, _ = Rotate().encode([tf.constant(vector)], drawing.seeds())
    norm = np.linalg.norm(np.concatenate([leaf.numpy() for leaf in leaves]))
    assert norm == pytest.approx(np.linalg.norm(vector), rel=1e-5)
    np.testing.assert_allclose(
        drawing.decoded(vector, Rotate()),
        vector,
        atol=1e-5 * np.linalg.norm(vector),
    )


def test_one_large_entry_is_spread_over_its_block():
    """Suresh et al. 2017, Lemma 4."""
    vector = np.zeros(1024, np.float32)
    vector[5] = 32.0
    (found,), _ = Rotate().encode([tf.constant(vector)], drawing.seeds())
    np.testing.assert_allclose(np.abs(found), 1, atol=1e-5)


@pytest.mark.parametrize("is_shared", [True, False])
def test_rounds_have_rotations_of_their_own(is_shared):
    vector = [tf.constant(np.ones(64, np.float32))]
    codec = Rotate(is_shared)
    (first,), _ = codec.encode(vector, drawing.seeds(1))
    (second,), _ = codec.encode(vector, drawing.seeds(2))
    assert np.abs(first - second).max() > 0.1


@pytest.mark.parametrize("is_shared", [True, False])
def test_clients_have_rotations_of_their_own_unless_they_are_summed(is_shared):
    vector = [tf.constant(np.ones(64, np.float32))]
    shared = tf.constant([1, 0], tf.int64)
    (first,), (other,) = (
        Rotate(is_shared).encode(
            vector, Seeds(shared, tf.constant([own, 1], tf.int64))
        )[0]
        for own in (3, 4)
    )
    assert np.array_equal(first, other) == is_shared
    # What is not known of the round is sent.
    assert drawing.num_bytes(vector[0], Rotate(is_shared)) == 64 * 4 + (
        0 if is_shared else 16
    )


def test_errors_of_clients_that_are_alike_cancel():
    """Vargaftik et al. 2021, Theorem 3: those of n in the mean are an n-th."""
    rng = np.random.default_rng(1)
    common, number = rng.standard_normal(1024), 20
    updates = [
        np.float32(common + 0.3 * rng.standard_normal(1024))
        for _ in range(number)
    ]
    codec, shared = Codecs([Rotate(), OneBit(True)]), tf.constant([1, 0])
    found = []
    for update in updates:
        leaves = [tf.constant(update)]
        seeds = Seeds(
            tf.cast(shared, tf.int64),
            own_seed(leaves, tf.constant(1, tf.int64)),
        )
        (decoded,), _ = codec.transmitted(leaves, seeds)
        found.append(decoded)
    error = drawing.relative_error(
        np.mean(found, axis=0), np.mean(updates, axis=0)
    )
    assert error < 1.5 * (np.pi / 2 - 1) * 1.09 / number
