"""Power series against dense linear algebra."""

import itertools

import numpy as np
import pytest
import scipy.linalg

from tff_cnn.privacy import factorization

RNG = np.random.default_rng(0)


def dense(column, size):
    """The lower triangular Toeplitz matrix."""
    column = np.concatenate([column, np.zeros(size)])[:size]
    return scipy.linalg.toeplitz(column, np.zeros(size))


def patterns(rounds, separation, participations):
    """All sets of rounds that a client may take part in."""
    for count in range(1, participations + 1):
        for chosen in itertools.combinations(range(rounds), count):
            if count == 1 or min(np.diff(chosen)) >= separation:
                yield list(chosen)


def worst(matrix, separation, participations):
    return max(
        np.sum(matrix[:, chosen].sum(axis=1) ** 2)
        for chosen in patterns(len(matrix), separation, participations)
    )


def test_inverse_is_that_of_the_matrix():
    column = np.array([0.8, 0.5, -0.2, 0.1])
    inverse = factorization.inverse_column(column, 12)
    np.testing.assert_allclose(
        dense(inverse, 12), np.linalg.inv(dense(column, 12)), atol=1e-12
    )


def test_error_is_that_of_the_totals():
    column = np.array([1.0, 0.5, 0.3])
    totals = np.tril(np.ones((9, 9))) @ np.linalg.inv(dense(column, 9))
    assert factorization.mean_squared_error(column, 9) == pytest.approx(
        np.sum(totals**2) / 9
    )
    # Independent noise: the variance of total t is t.
    assert factorization.mean_squared_error(np.ones(1), 9) == pytest.approx(5)


@pytest.mark.parametrize("rounds", [5, 9, 12])
@pytest.mark.parametrize("separation", [1, 3, 4])
@pytest.mark.parametrize("participations", [1, 2, 3])
@pytest.mark.parametrize(
    "column",
    [
        np.array([1.0]),
        np.array([0.9, -0.4, 0.3]),  # Of any sign: it is short enough.
        np.array([1.0, 0.5, 0.5, 0.2, 0.1]),
        factorization.square_root_column(12),
        factorization.blt_column(
            np.array([0.5, 0.95]), np.array([0.4, 0.3]), 12
        ),
    ],
    ids=["independent", "short", "monotone", "root", "blt"],
)
def test_sensitivity_is_that_of_the_worst_of_all_patterns(
    rounds, separation, participations, column
):
    if len(column) == 3 and separation < 3:
        with pytest.raises(ValueError, match="not known"):
            factorization.squared_sensitivity(
                column, rounds, separation, participations
            )
        return
    assert factorization.squared_sensitivity(
        column, rounds, separation, participations
    ) == pytest.approx(worst(dense(column, rounds), separation, participations))


def test_the_square_root_is_one():
    root = dense(factorization.square_root_column(8), 8)
    np.testing.assert_allclose(root @ root, np.tril(np.ones((8, 8))))


def test_two_rounds_by_hand():
    # (2 + (1 - c)^2) (1 + c^2) is least where 2 c^3 - 3 c^2 + 4 c = 1.
    column = factorization.banded_column(2, 2)
    ratio = column[1] / column[0]
    assert 2 * ratio**3 - 3 * ratio**2 + 4 * ratio == pytest.approx(1, abs=1e-4)
    assert np.linalg.norm(column) == pytest.approx(1)


@pytest.mark.parametrize(("rounds", "bands"), [(20, 3), (50, 10), (64, 64)])
def test_no_other_banded_column_is_better(rounds, bands):
    column = np.array(factorization.banded_column(rounds, bands))
    least = factorization.loss(column, rounds, bands, 1)
    for size in (1e-3, 1e-1):
        for _ in range(20):
            other = column + size * RNG.normal(size=bands)
            # The optimizer stops at a relative change of 1e-8 or so.
            assert factorization.loss(other, rounds, bands, 1) > least - 1e-7
    if bands > 1:
        assert least < factorization.loss(np.ones(1), rounds, 1, 1)
    root = factorization.square_root_column(bands)
    assert least <= factorization.loss(root, rounds, bands, 1)


def test_one_band_is_independent_noise():
    assert factorization.banded_column(30, 1) == (1.0,)


def test_more_bands_are_never_worse():
    losses = [
        factorization.loss(
            np.array(factorization.banded_column(100, bands)), 100, 100, 1
        )
        for bands in (1, 2, 5, 20, 100)
    ]
    assert (np.diff(losses) < 0).all()


def test_two_buffers_are_nearly_as_good_as_all_bands():
    # McMahan et al. 2024, section 5: a few buffers come close to the optimum.
    decays, scales = map(np.array, factorization.blt_parameters(100, 2, 100, 1))
    assert ((0 < decays) & (decays < 1)).all() and (scales > 0).all()
    assert scales.sum() <= 1
    column = factorization.blt_column(decays, scales, 100)
    best = np.array(factorization.banded_column(100, 100))
    assert factorization.loss(column, 100, 100, 1) < 1.002 * (
        factorization.loss(best, 100, 100, 1)
    )


def test_buffers_that_know_of_several_participations_beat_those_that_do_not():
    def cost(participations):
        parameters = factorization.blt_parameters(100, 2, 25, participations)
        column = factorization.blt_column(*map(np.array, parameters), 100)
        return factorization.loss(column, 100, 25, 4)

    assert cost(4) < cost(1)
