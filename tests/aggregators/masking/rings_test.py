import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_cnn.aggregators.masking.rings import Ring

MODULI = st.integers(2, 2**63) | st.sampled_from(
    [2, 3, 2**31 - 1, 2**31 + 1, 2**32, 2**32 - 1, 2**63]
)


@given(MODULI, st.data())
def test_a_ring_computes_as_integers_do(modulus, data):
    ring = Ring(modulus)
    number = st.integers(0, modulus - 1)
    rows = st.lists(number, min_size=3, max_size=3)
    first, second, third = (data.draw(rows) for _ in range(3))
    total = np.array(first, ring.dtype)
    ring.add(total, np.array(second, ring.dtype))
    ring.subtract(total, np.array(third, ring.dtype))
    expected = [
        (a + b - c) % modulus
        for a, b, c in zip(first, second, third, strict=True)
    ]
    assert ring.reduced(total).tolist() == expected
    sent = ring.to_bytes(ring.reduced(total))
    assert len(sent) == 3 * ring.num_bytes
    assert ring.from_bytes(sent).tolist() == expected


def test_the_modulus_itself_is_zero():
    ring = Ring(7)
    total = np.array([5, 6, 0], ring.dtype)
    ring.add(total, np.array([2, 6, 0], ring.dtype))
    assert total.tolist() == [0, 5, 0]
    ring.subtract(total, np.array([0, 5, 1], ring.dtype))
    assert total.tolist() == [0, 0, 6]


@given(MODULI, st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_any_integers_are_taken_modulo_r(modulus, values):
    found = Ring(modulus).reduced(np.array(values, np.int64))
    assert found.tolist() == [v % modulus for v in values]


@pytest.mark.parametrize(
    ("modulus", "dtype", "num_bytes"),
    [
        (2**20 - 1, np.uint32, 3),
        (2**24, np.uint32, 3),
        (2**32, np.uint32, 4),
        (2**32 - 1, np.uint64, 4),
        (2**48, np.uint64, 6),
    ],
)
def test_numbers_are_as_short_as_they_can_be(modulus, dtype, num_bytes):
    ring = Ring(modulus)
    assert (ring.dtype, ring.num_bytes) == (dtype, num_bytes)


@pytest.mark.parametrize("modulus", [1, 0, 2**63 + 1])
def test_a_modulus_has_limits(modulus):
    with pytest.raises(ValueError, match="a modulus of"):
        Ring(modulus)
