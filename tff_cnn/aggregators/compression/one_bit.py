"""One bit of each number, its sign, and a scale for each tensor.

Seide et al. 2014, "1-Bit Stochastic Gradient Descent and its Application to
Data-Parallel Distributed Training of Speech DNNs"; Karimireddy et al. 2019,
"Error Feedback Fixes SignSGD and other Gradient Compression Schemes". Of each
tensor x of d numbers:

    1. `mean`: S = |x|_1 / d, which errs least: by |x|**2 - |x|_1**2 / d
       `drive`: S = |x|**2 / |x|_1
    2. S, 4 bytes; and the signs, packed
    3. the server has S sign(x)

The scale `drive` is for numbers that `rotate` has made nearly normal
(Vargaftik et al. 2021, "DRIVE: One-bit Distributed Mean Estimation", Algorithm
1 and Theorem 3): there the mean over rotations is x, and

    E |x - S sign(x)|**2 / |x|**2 nears pi / 2 - 1 = 0.571;

with `mean` it nears 1 - 2 / pi = 0.363, and the mean is 2 / pi x.

Without a rotation S sign(x) can be far off, and needs error feedback: a fixed
part of what was left out is then made up for in each round.

The sign of 0 is +. Time: a few passes. Memory: 12 bytes a number. Bytes: d / 8
and 4 for each tensor.
"""

import dataclasses

import tensorflow as tf

from tff_cnn.aggregators import codecs
from tff_cnn.aggregators.compression import bits


@dataclasses.dataclass(frozen=True)
class OneBit:
    """Signs.

    Attributes:
      is_drive: Which scale; see above.
    """

    is_drive: bool = False

    def encode(self, leaves, seeds):
        """Steps 1 and 2."""
        del seeds
        signs = tf.cast(codecs.joined(leaves) >= 0, tf.int32)
        scales = tf.stack([self._scale(leaf) for leaf in leaves])
        return [], (scales, bits.pack(signs, 1))

    def decode(self, left, beside, specs, shared):
        """Step 3."""
        del left, shared
        scales, message = beside
        size = sum(spec.shape.num_elements() for spec in specs)
        signs = tf.cast(2 * bits.unpack(message, 1, size) - 1, tf.float32)
        return [
            scale * leaf
            for scale, leaf in zip(
                tf.unstack(scales), codecs.parted(signs, specs), strict=True
            )
        ]

    def num_bytes(self, beside):
        return codecs.num_bytes(beside)

    def _scale(self, leaf: tf.Tensor) -> tf.Tensor:
        largest, unit = codecs.divided(leaf)
        total = tf.reduce_sum(tf.abs(unit))
        if not self.is_drive:
            return largest * (total / leaf.shape.num_elements())
        square = tf.reduce_sum(tf.square(unit))
        return largest * tf.math.divide_no_nan(square, total)


def build_one_bit(
    one_bit_scale: str, error_feedback: bool = False
) -> codecs.Codec:
    """Builds the codec.

    Args:
      one_bit_scale: "mean" or "drive".
      error_feedback: Of no concern here.
    """
    del error_feedback
    return OneBit(one_bit_scale == "drive")
