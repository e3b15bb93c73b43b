"""Arithmetic on model weights: sequences of NumPy arrays."""

import hashlib
from collections.abc import Sequence

import numpy as np

Weights = Sequence[np.ndarray]


def sha256(weights: Weights) -> str:
    """Hex digest over dtypes, shapes and bytes, in order.

    Equal digests mean bit-identical weights in the same order.
    """
    digest = hashlib.sha256()
    for array in weights:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def num_parameters(weights: Weights) -> int:
    """Number of scalars in `weights`."""
    return sum(int(np.size(array)) for array in weights)


def num_bytes(weights: Weights) -> int:
    """Bytes of `weights` as they are stored, without any compression."""
    return sum(int(np.asarray(array).nbytes) for array in weights)
