"""Shamir's secret sharing (1979), of 32 bytes.

    1. A secret is the value at 0 of a polynomial of degree t - 1 over the
       integers modulo P, whose other coefficients are uniform.
    2. A share is the value at x >= 1.
    3. t shares give the polynomial, and its value at 0 (Lagrange); t - 1 are
       uniform, whatever the secret.

The one part that is not of a library. Crypto.Protocol.SecretSharing of
pycryptodome 4.4 was measured: it shares 16 bytes, over GF(2^128) bit by bit, in
0.09 s for 67 of 100, and restores them in 0.14 s: about a minute for the keys
and seeds of a round of 100. Python's integers do it in a fiftieth of that.

O(t) multiplications a share, O(t^2) for a set of t points and O(t) for each
secret that it restores.
"""

import functools
import secrets
from collections.abc import Iterable, Mapping

from tff_cnn.aggregators.masking.keys import SECRET_BYTES

# The first prime above 2^256, so that each secret is a number below it.
P = 2**256 + 297
SHARE_BYTES = 33


def split(
    secret: bytes, threshold: int, points: Iterable[int]
) -> dict[int, bytes]:
    """Shares of a secret.

    Args:
      secret: 32 bytes.
      threshold: t, >= 1: so many shares restore it, and fewer say nothing.
      points: x of each share, distinct and >= 1; at least t of them.

    Returns:
      x -> 33 bytes.

    Raises:
      ValueError: Fewer points than the threshold, or one that is none.
    """
    points = list(points)
    if not 1 <= threshold <= len(set(points)) == len(points):
        raise ValueError(
            f"a threshold of {threshold} for {len(points)} shares."
        )
    if min(points) < 1:
        raise ValueError("a share at 0 is the secret itself.")
    coefficients = [secrets.randbelow(P) for _ in range(threshold - 1)]
    coefficients.append(int.from_bytes(_checked(secret)))
    return {x: _value(coefficients, x).to_bytes(SHARE_BYTES) for x in points}


def restored(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret that was split.

    Args:
      shares: x -> share.
      threshold: As it was split.

    Raises:
      ValueError: There are too few, or they are not of one secret.
    """
    if len(shares) < threshold:
        raise ValueError(
            f"{len(shares)} shares of a secret of which it takes {threshold}."
        )
    points = tuple(sorted(shares)[:threshold])
    total = sum(
        factor * int.from_bytes(shares[x])
        for x, factor in zip(points, _lagrange_at_zero(points), strict=True)
    )
    if total % P >= 2**256:
        raise ValueError("shares that are not of one secret.")
    return (total % P).to_bytes(SECRET_BYTES)


def _checked(secret: bytes) -> bytes:
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes.")
    return secret


def _value(coefficients: list[int], x: int) -> int:
    """Of a polynomial, from its highest coefficient on (Horner)."""
    value = 0
    for coefficient in coefficients:
        value = (value * x + coefficient) % P
    return value


# In a round all secrets are restored of the same few sets of holders.
@functools.lru_cache(maxsize=4096)
def _lagrange_at_zero(points: tuple[int, ...]) -> tuple[int, ...]:
    """What the values at the points are multiplied with."""
    factors = []
    for x in points:
        above = below = 1
        for other in points:
            if other != x:
                above = above * other % P
                below = below * (other - x) % P
        factors.append(above * pow(below, -1, P) % P)
    return tuple(factors)
