import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.aggregators.compression import drawing
from tests.reference import compression as reference
from tff_cnn.aggregators.compression import rice
from tff_cnn.aggregators.compression.top_k import TopK, num_kept


@drawing.unhurried
@given(drawing.vectors, st.floats(1e-3, 1))
def test_it_keeps_the_largest(vector, share):
    """And leaves out no more than Stich et al. 2018 say: 1 - k / n."""
    found = drawing.decoded(vector, TopK(share))
    count = num_kept(share, len(vector))
    np.testing.assert_array_equal(found, reference.top_k(vector, count))
    error = drawing.relative_error(found, vector)
    assert error <= 1 - count / len(vector) + 1e-6


@drawing.unhurried
@given(drawing.vectors)
def test_all_of_it_is_exact(vector):
    np.testing.assert_array_equal(drawing.decoded(vector, TopK(1.0)), vector)


@pytest.mark.parametrize(
    ("share", "size", "count"),
    [(0.1, 10, 1), (0.1, 11, 2), (0.01, 5, 1), (1.0, 7, 7), (0.3, 10, 3)],
)
def test_the_number_is_rounded_up(share, size, count):
    assert num_kept(share, size) == count


def test_a_hundredth_takes_a_seventy_eighth_of_the_bytes():
    vector = np.random.default_rng(1).standard_normal(100_000)
    found = drawing.num_bytes(vector.astype(np.float32), TopK(0.01))
    assert 4000 < found <= 4000 + sum(rice.index_bytes(1000, 100_000))
    assert 400_000 / found == pytest.approx(79.8, rel=0.01)
