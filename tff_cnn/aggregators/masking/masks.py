"""PRG: from a secret to a vector that is uniform modulo R.

The key stream of AES-128 in counter mode, whose key HKDF has made of a secret
that is used once. Where R is no power of two, numbers of as many bits are drawn
and those from R on drawn again, so that there is no bias at all.

A vector of m numbers takes O(m) time and no memory of its own: the stream is
added while it is in the cache.
"""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tff_cnn.aggregators.masking.keys import derived
from tff_cnn.aggregators.masking.rings import Ring

_NUM_BYTES = 2**16  # At a time: three of them fit into any second cache.
_ZEROS = bytes(_NUM_BYTES)
_KEY_BYTES = 16


def add(total: np.ndarray, secret: bytes, sign: int, ring: Ring) -> None:
    """total += sign * PRG(secret), in place.

    Args:
      total: `ring.dtype`; see `Ring.add`.
      secret: 32 bytes that nothing else is expanded from.
      sign: 1 or -1.
      ring: What is computed in.
    """
    stream = _Stream(secret, ring)
    combine = ring.add if sign > 0 else ring.subtract
    for start in range(0, len(total), stream.capacity):
        part = total[start : start + stream.capacity]
        combine(part, stream.next(len(part)))


class _Stream:
    """Uniform numbers below R, one after the other."""

    def __init__(self, secret: bytes, ring: Ring):
        key = derived(secret, b"mask", _KEY_BYTES)
        # The key is used once, so that any start is as good as another.
        cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16)))
        self._encryptor = cipher.encryptor()
        self._ring = ring
        self._buffer = bytearray(_NUM_BYTES)
        self._words = np.frombuffer(self._buffer, ring.dtype)

    @property
    def capacity(self) -> int:
        """The most numbers at a time."""
        return len(self._words)

    def next(self, count: int) -> np.ndarray:
        """`ring.dtype`, [count]; valid until the next call.

        Below R, but where that is a power of two of any size.
        """
        words = self._drawn(count)
        ring = self._ring
        if ring.is_power_of_two:
            return words
        mask = ring.dtype((1 << ring.bits) - 1)
        found = words & mask
        (refused,) = np.nonzero(found >= ring.dtype(ring.modulus))
        while len(refused):
            found[refused] = self._drawn(len(refused)) & mask
            refused = refused[found[refused] >= ring.dtype(ring.modulus)]
        return found

    def _drawn(self, count: int) -> np.ndarray:
        size = count * self._words.itemsize
        self._encryptor.update_into(memoryview(_ZEROS)[:size], self._buffer)
        return self._words[:count]
