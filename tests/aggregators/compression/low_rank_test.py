import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.aggregators.compression import drawing
from tests.reference import compression as reference
from tff_cnn.aggregators import codecs
from tff_cnn.aggregators.compression import low_rank
from tff_cnn.aggregators.compression.low_rank import LowRank


def matrix(rows, columns, decay=0.5, seed=0):
    """With singular values decay**i."""
    rng = np.random.default_rng(seed)
    least = min(rows, columns)
    u, _ = np.linalg.qr(rng.standard_normal((rows, least)))
    v, _ = np.linalg.qr(rng.standard_normal((columns, least)))
    values = decay ** np.arange(least)
    return ((u * values) @ v.T).astype(np.float32)


def draw(columns, rank):
    seed = codecs.stream(drawing.seeds().shared, 1 << 17)
    return tf.random.stateless_normal([columns, rank], seed).numpy()


@pytest.mark.parametrize("rank", [1, 3])
def test_it_is_the_papers(rank):
    given = matrix(30, 20)
    np.testing.assert_allclose(
        drawing.decoded(given, LowRank(rank)),
        reference.low_rank(np.float64(given), draw(20, rank)),
        atol=1e-5,
    )
    assert drawing.num_bytes(given, LowRank(rank)) == 4 * rank * 50


@drawing.unhurried
@given(st.integers(2, 20), st.integers(2, 20), st.integers(1, 4))
def test_it_projects(rows, columns, rank):
    """What is left out is at right angles to what is sent."""
    given = matrix(rows, columns, 0.8)
    found = np.float64(drawing.decoded(given, LowRank(rank)))
    assert abs(np.sum(found * (given - found))) < 1e-4
    assert np.linalg.norm(given - found) <= np.linalg.norm(given)
    if rank * (rows + columns) >= rows * columns:
        np.testing.assert_array_equal(found, given)


def test_it_errs_by_less_than_random_projections_do():
    """Halko et al. 2011, Theorem 10.5: the tail, and a part for r - k."""
    given = matrix(40, 30, 0.7)
    found = drawing.many(given, LowRank(6), count=200)
    errors = [np.square(given - x).sum() for x in found]
    tails = [np.sum(0.7 ** (2 * np.arange(k, 30))) for k in range(31)]
    bound = min((1 + k / (5 - k)) * tails[k] for k in range(5))
    assert tails[6] < np.mean(errors) <= bound


def test_a_matrix_of_that_rank_comes_back():
    given = matrix(30, 20)[:, :2] @ np.ones((2, 20), np.float32)
    np.testing.assert_allclose(
        drawing.decoded(given, LowRank(3)), given, atol=1e-5
    )


def test_kernels_are_matrices_and_vectors_are_whole():
    kernel = matrix(9 * 8, 16).reshape(3, 3, 8, 16)
    codec = LowRank(2)
    left, _ = codec.encode(
        [tf.constant(kernel), tf.ones(16), tf.ones([4, 4])], drawing.seeds()
    )
    assert [x.shape.as_list() for x in left] == [
        [72, 2],
        [16, 2],
        [16],
        [4, 4],
    ]


@pytest.mark.parametrize("spread", [1.0, 1e-4, 0.0])
def test_columns_that_are_nearly_the_same_have_a_basis(spread):
    rng = np.random.default_rng(2)
    columns = rng.standard_normal((50, 1)) + spread * rng.standard_normal(
        (50, 4)
    )
    basis = low_rank.orthonormal(tf.constant(columns, tf.float32)).numpy()
    if spread:
        np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-5)
    # What they span is in it.
    rest = columns - basis @ (basis.T @ columns)
    assert np.abs(rest).max() < 1e-5
