"""The k largest numbers of an update, and where they are.

Aji and Heafield 2017, "Sparse Communication for Distributed Gradient Descent";
with error feedback Stich et al. 2018, "Sparsified SGD with Memory". Of all n
numbers x together:

    1. I = the places of the k largest |x_i|; of equal ones the first
    2. I in increasing order, in a code of its gaps       (`rice`)
    3. x_I, which the next codec may encode further
    4. the server has x_I at I, and zeros elsewhere

    |x - C(x)|**2 <= (1 - k / n) |x|**2, and C(x) = x for k = n.

What is left out is biased, and needs error feedback for small k.

Time: a selection of k out of n and a sort of k. Memory: 12 bytes a number.
Bytes: 4 k, and k (log2(n / k) + 1.5) / 8 for where, or nearly so.
"""

import dataclasses
import math

import tensorflow as tf

from tff_cnn.aggregators import codecs
from tff_cnn.aggregators.compression import bits, rice


@dataclasses.dataclass(frozen=True)
class TopK:
    """The largest numbers.

    Attributes:
      fraction: k / n, in (0, 1]; k is rounded up.
    """

    fraction: float

    def encode(self, leaves, seeds):
        """Steps 1 to 3."""
        del seeds
        vector = codecs.joined(leaves)
        count = num_kept(self.fraction, vector.shape[0])
        _, indices = tf.math.top_k(tf.abs(vector), count, sorted=False)
        indices = tf.sort(indices)
        message = rice.encode_indices(indices, vector.shape[0])
        return [tf.gather(vector, indices)], message

    def decode(self, left, beside, specs, shared):
        """Step 4."""
        del shared
        size = sum(spec.shape.num_elements() for spec in specs)
        count = num_kept(self.fraction, size)
        indices = rice.decode_indices(beside, count, size)
        (values,) = left
        return codecs.parted(
            tf.math.unsorted_segment_sum(values, indices, size), specs
        )

    def num_bytes(self, beside):
        return bits.used_bytes(beside)


def num_kept(fraction: float, size: int) -> int:
    """k out of n: at least 1."""
    # Of 0.1 and 10 it is 1, whatever their product is in binary.
    return min(size, max(1, math.ceil(fraction * size - 1e-9)))


def build_top_k(
    top_k_fraction: float, error_feedback: bool = False
) -> codecs.Codec:
    """Builds the codec.

    Args:
      top_k_fraction: k / n.
      error_feedback: Of no concern here.
    """
    del error_feedback
    return TopK(top_k_fraction)
