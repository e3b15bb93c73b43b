import numpy as np
import pytest
from hypothesis import given

from tests.aggregators.compression import drawing
from tests.reference import compression as reference
from tff_cnn.aggregators.compression.one_bit import OneBit
from tff_cnn.aggregators.compression.rotate import Rotate


@drawing.unhurried
@given(drawing.vectors)
def test_it_errs_by_what_the_paper_says(vector):
    """Karimireddy et al. 2019, section 3: delta = |x|_1^2 / (d |x|^2)."""
    found = drawing.decoded(vector, OneBit())
    exact = np.float64(vector)
    np.testing.assert_allclose(found, reference.one_bit(exact), rtol=1e-4)
    delta = np.abs(exact).sum() ** 2 / len(vector) / np.square(exact).sum()
    assert drawing.relative_error(found, vector) == pytest.approx(
        1 - delta, abs=1e-4
    )
    size = -(-len(vector) // 8) + 4
    assert drawing.num_bytes(vector, OneBit()) == size


@drawing.unhurried
@given(drawing.vectors)
def test_drives_scale_is_the_references(vector):
    np.testing.assert_allclose(
        drawing.decoded(vector, OneBit(is_drive=True)),
        reference.one_bit(np.float64(vector), "drive"),
        rtol=1e-4,
    )


def test_the_sign_of_zero_is_positive():
    found = drawing.decoded(np.float32([0, -2, 1]), OneBit())
    np.testing.assert_array_equal(found, [1, -1, 1])


@pytest.mark.parametrize("power", [1.0, 4.0])
@pytest.mark.parametrize(
    ("is_drive", "published"), [(True, np.pi / 2 - 1), (False, 1 - 2 / np.pi)]
)
def test_drives_error_is_the_papers(is_drive, published, power):
    """Vargaftik et al. 2021, Theorems 2 and 4, of many dimensions."""
    normal = np.random.default_rng(3).standard_normal(4096)
    vector = (np.sign(normal) * np.abs(normal) ** power).astype(np.float32)
    found = drawing.many(vector, Rotate(), OneBit(is_drive), count=20)
    errors = [drawing.relative_error(x, vector) for x in found]
    assert np.mean(errors) == pytest.approx(published, rel=0.03)
    if is_drive:  # Right in the mean: that of 20 errs by a twentieth.
        error = drawing.relative_error(found.mean(0), vector)
        assert error == pytest.approx(published / 20, rel=0.15)
