import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.aggregators.compression import drawing
from tff_cnn.aggregators.compression.random_k import RandomK
from tff_cnn.aggregators.compression.top_k import num_kept


@drawing.unhurried
@given(drawing.vectors, st.floats(1e-3, 1), st.booleans())
def test_it_keeps_as_many_as_it_says(vector, share, is_scaled):
    count = num_kept(share, len(vector))
    found = drawing.decoded(vector, RandomK(share, is_scaled))
    kept = found != 0
    # Among what is drawn may be zeros.
    assert np.count_nonzero(kept) <= count
    if vector.all():
        assert np.count_nonzero(kept) == count
    scale = len(vector) / count if is_scaled else 1
    np.testing.assert_allclose(found[kept], scale * vector[kept], rtol=1e-6)
    codec = RandomK(share, is_scaled)
    assert drawing.num_bytes(vector, codec) == 4 * count + 16


@drawing.unhurried
@given(drawing.vectors)
def test_all_of_it_is_exact(vector):
    np.testing.assert_array_equal(drawing.decoded(vector, RandomK(1.0)), vector)


def test_it_is_right_in_the_mean():
    """Konecny et al. 2016; the variance is (n / k - 1) |x|^2."""
    vector = np.random.default_rng(0).standard_normal(40).astype(np.float32)
    found = drawing.many(vector, RandomK(0.25), count=3000)
    # Of each number the deviation is its size times sqrt(n / k - 1).
    deviations = (found.mean(0) - vector) / np.abs(vector) * (3000 / 3) ** 0.5
    assert np.abs(deviations).max() < 5
    errors = [drawing.relative_error(x, vector) for x in found]
    assert np.mean(errors) == pytest.approx(3, rel=0.05)


def test_without_a_scale_it_leaves_out_the_rest():
    """Stich et al. 2018: E |x - C(x)|^2 = (1 - k / n) |x|^2."""
    vector = np.random.default_rng(1).standard_normal(40).astype(np.float32)
    found = drawing.many(vector, RandomK(0.25, False), count=3000)
    errors = [drawing.relative_error(x, vector) for x in found]
    assert np.mean(errors) == pytest.approx(0.75, rel=0.02)
    assert np.max(errors) <= 1
