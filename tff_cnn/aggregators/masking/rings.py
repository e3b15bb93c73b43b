"""Vectors of integers modulo R, in memory and as bytes."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Ring:
    """The integers modulo R.

    Attributes:
      modulus: R, from 2 to 2^63.
    """

    modulus: int

    def __post_init__(self):
        if not 2 <= self.modulus <= 2**63:
            raise ValueError(f"a modulus of {self.modulus}: 2 to 2^63 it is.")

    @property
    def bits(self) -> int:
        """Of the largest number."""
        return (self.modulus - 1).bit_length()

    @property
    def is_power_of_two(self) -> bool:
        return self.modulus == 1 << self.bits

    @property
    def dtype(self) -> type:
        """Of a vector: a sum of two numbers fits, or wraps around as R does."""
        small = 32 if self.is_power_of_two else 31
        return np.uint32 if self.bits <= small else np.uint64

    def reduced(self, values: np.ndarray) -> np.ndarray:
        """Any integers modulo R: a new vector of `dtype`."""
        if self.is_power_of_two:  # Two's complement is modulo a power of two.
            return values.astype(self.dtype) & self.dtype(self.modulus - 1)
        if np.issubdtype(values.dtype, np.signedinteger):
            values = values.astype(np.int64)
        return np.mod(values, values.dtype.type(self.modulus)).astype(
            self.dtype
        )

    def add(self, total: np.ndarray, values: np.ndarray) -> None:
        """total += values, in place; both are below R, or R is a power of two.

        Modulo a power of two the total is what it is after `reduced` only.
        """
        np.add(total, values, out=total)
        if not self.is_power_of_two:
            modulus = self.dtype(self.modulus)
            np.subtract(total, modulus, out=total, where=total >= modulus)

    def subtract(self, total: np.ndarray, values: np.ndarray) -> None:
        """total -= values, as `add`."""
        if self.is_power_of_two:
            np.subtract(total, values, out=total)
        else:
            self.add(total, self.dtype(self.modulus) - values)

    @property
    def num_bytes(self) -> int:
        """Of a number that is sent."""
        return -(-self.bits // 8)

    def to_bytes(self, vector: np.ndarray) -> bytes:
        """A vector as it is sent: whole bytes a number, the lowest first."""
        rows = vector.view(np.uint8).reshape(len(vector), -1)
        return rows[:, : self.num_bytes].tobytes()

    def from_bytes(self, sent: bytes) -> np.ndarray:
        """The vector that `to_bytes` made bytes of."""
        size = len(sent) // self.num_bytes
        rows = np.zeros([size, np.dtype(self.dtype).itemsize], np.uint8)
        rows[:, : self.num_bytes] = np.frombuffer(sent, np.uint8).reshape(
            size, -1
        )
        return rows.reshape(-1).view(self.dtype)
