"""A random rotation: the numbers of an update become nearly normal.

Suresh et al. 2017, "Distributed Mean Estimation with Limited Communication",
section 3. Of all numbers of an update together, in blocks x of d = 2**j:

    1. D = diagonal of signs, drawn from a seed that each client sends, 16
       bytes; before a sum, of the round
    2. H = the Hadamard matrix over sqrt(d), which is its own inverse
    3. H D x, which the next codec encodes     (`encode`)
    4. the server has D H of what it gets      (`decode`)

A rotation keeps norms, and spreads what one entry has over its block: by
Lemma 4 there, E (max - min)**2 falls to |x|**2 (2 log d + 2) / d. Alone it
compresses nothing; before `quantize` and `one_bit` it is what EDEN and DRIVE
begin with. There each client has a rotation of its own, so that what codes
leave out of updates that are alike is different, and the mean of n errs by an
n-th. As it is linear it also goes before a secure sum, the same for all clients
of a round: see `aggregators.linear`.

A power of two that holds all numbers would make up to twice as many of them.
Blocks are the binary digits of how many there are, as far as these go, and the
last is filled up with zeros: by 1/64 of the numbers at most, or 63.

TFF's transform multiplies by matrices of 2; here they are of 64 and less, which
passes over memory 6 times less often.

Time: 64 products a number for each factor 64 of d. Memory: 16 bytes a number.
Bytes: what the next codec makes of the numbers, 4 each without one; and 16.
"""

import dataclasses

import numpy as np
import scipy.linalg
import tensorflow as tf

from tff_cnn.aggregators import codecs

_STREAM = 1 << 19
_LARGEST_FACTOR = 64
_FILLED_UP = 64


@dataclasses.dataclass(frozen=True)
class Rotate:
    """A rotation of each block.

    Attributes:
      is_shared: Whether all clients of a round have the same, and none sends
        its seed.
    """

    is_shared: bool = False

    def encode(self, leaves, seeds):
        """Steps 1 to 3."""
        vector = codecs.joined(leaves)
        lengths = block_lengths(vector.shape[0])
        missing = sum(lengths) - vector.shape[0]
        seed = seeds.shared if self.is_shared else seeds.own
        padded = tf.pad(vector, [[0, missing]]) * _signs(seed, sum(lengths))
        beside = () if self.is_shared else seed
        return [hadamard(block) for block in tf.split(padded, lengths)], beside

    def decode(self, left, beside, specs, shared):
        """Step 4."""
        seed = shared if self.is_shared else beside
        vector = tf.concat([hadamard(block) for block in left], 0)
        vector *= _signs(seed, vector.shape[0])
        size = sum(spec.shape.num_elements() for spec in specs)
        return codecs.parted(vector[:size], specs)

    def num_bytes(self, beside):
        return codecs.num_bytes(beside)


def _signs(seed: tf.Tensor, size: int) -> tf.Tensor:
    """float32, [size]: 1 or -1."""
    draw = tf.random.stateless_uniform(
        [size], codecs.stream(seed, _STREAM), 0, 2, tf.int32
    )
    return tf.cast(2 * draw - 1, tf.float32)


def block_lengths(size: int) -> list[int]:
    """Powers of two, falling, whose sum is hardly more than `size` >= 1."""
    found, rest = [], size
    while rest:
        length = 1 << (rest - 1).bit_length()
        if length - rest > max(size // _FILLED_UP, _FILLED_UP - 1):
            length //= 2
        found.append(length)
        rest = max(0, rest - length)
    return found


def hadamard(vector: tf.Tensor) -> tf.Tensor:
    """H x, for the Hadamard matrix H over sqrt(d).

    Args:
      vector: float32, [d], d a power of two.
    """
    size = vector.shape[0]
    # H of a product is that of each factor, along an axis of its own.
    done, rest = 1, size
    while rest > 1:
        factor = min(rest, _LARGEST_FACTOR)
        rest //= factor
        matrix = scipy.linalg.hadamard(factor) / np.sqrt(factor)
        matrix = tf.constant(matrix, tf.float32)
        if rest > 1:
            cube = tf.reshape(vector, [done, factor, rest])
            vector = tf.linalg.matmul(matrix, cube)
        else:  # It is symmetric.
            rows = tf.reshape(vector, [done, factor])
            vector = tf.linalg.matmul(rows, matrix)
        done *= factor
    return tf.reshape(vector, [size])


def build_rotate(is_shared: bool = False) -> codecs.Codec:
    """Builds the codec.

    Args:
      is_shared: Before a sum of what it makes.
    """
    return Rotate(is_shared)
