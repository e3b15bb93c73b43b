import numpy as np

from tff_cnn.core import weights

ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(4, np.float32)]


def test_digest_depends_on_every_bit_shape_dtype_and_order():
    changed = ARRAYS[0].copy()
    changed[1, 2] = np.nextafter(changed[1, 2], np.float32(np.inf))
    variants = [
        ARRAYS,
        [changed, ARRAYS[1]],
        [ARRAYS[0].reshape(3, 2), ARRAYS[1]],
        [ARRAYS[0].astype(np.float64), ARRAYS[1]],
        ARRAYS[::-1],
    ]
    assert len({weights.sha256(v) for v in variants}) == len(variants)


def test_digest_ignores_memory_layout():
    fortran = [np.asfortranarray(a) for a in ARRAYS]
    assert weights.sha256(fortran) == weights.sha256(ARRAYS)


def test_counts():
    assert weights.num_parameters(ARRAYS) == 10
    assert weights.num_bytes(ARRAYS) == 40
