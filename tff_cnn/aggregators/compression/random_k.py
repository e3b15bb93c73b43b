"""k numbers of an update, drawn by each client anew in each round.

Konecny et al. 2016, "Federated Learning: Strategies for Improving
Communication Efficiency", section 3 (subsampling); with error feedback Stich et
al. 2018, "Sparsified SGD with Memory". Of all n numbers x together:

    1. I = k places, drawn from a seed
    2. the seed, 16 bytes, which says where they are
    3. (n / k) x_I, which the next codec may encode further; x_I with error
       feedback, to which what is too large would be fed back as an error
    4. the server draws I again, and has these at I and zeros elsewhere

    Without error feedback E C(x) = x and E |x - C(x)|**2 = (n / k - 1) |x|**2,
    of which a mean over K clients has one K-th; with it, as of C(x) = x_I,
    E |x - C(x)|**2 = (1 - k / n) |x|**2. C(x) = x for k = n.

Time: a draw of n numbers and a selection of k, of each client alone, twice.
Memory: 12 bytes a number. Bytes: 4 k + 16.
"""

import dataclasses

import tensorflow as tf

from tff_cnn.aggregators import codecs
from tff_cnn.aggregators.compression.top_k import num_kept

_STREAM = 1 << 18


@dataclasses.dataclass(frozen=True)
class RandomK:
    """Numbers at random places.

    Attributes:
      fraction: k / n, in (0, 1]; k is rounded up.
      is_scaled: Whether by n / k.
    """

    fraction: float
    is_scaled: bool = True

    def encode(self, leaves, seeds):
        """Steps 1 to 3."""
        vector = codecs.joined(leaves)
        seed = codecs.stream(seeds.own, _STREAM)
        indices = self._places(seed, vector.shape[0])
        scale = 1.0
        if self.is_scaled:
            scale = vector.shape[0] / indices.shape[0]
        return [scale * tf.gather(vector, indices)], seed

    def decode(self, left, beside, specs, shared):
        """Step 4."""
        del shared
        size = sum(spec.shape.num_elements() for spec in specs)
        (values,) = left
        indices = self._places(beside, size)
        return codecs.parted(
            tf.math.unsorted_segment_sum(values, indices, size), specs
        )

    def num_bytes(self, beside):
        return codecs.num_bytes(beside)

    def _places(self, seed: tf.Tensor, size: int) -> tf.Tensor:
        """Those of the largest of n numbers: int32, [k]."""
        draw = tf.random.stateless_uniform([size], seed, None, None, tf.int32)
        count = num_kept(self.fraction, size)
        return tf.math.top_k(draw, count, sorted=False).indices


def build_random_k(
    random_k_fraction: float, error_feedback: bool = False
) -> codecs.Codec:
    """Builds the codec.

    Args:
      random_k_fraction: k / n.
      error_feedback: Whether what is left out is fed back.
    """
    return RandomK(random_k_fraction, not error_feedback)
