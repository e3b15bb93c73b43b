"""Numbers as a few bits each: uniform levels, or those of EDEN.

Uniform levels with stochastic rounding are those of Alistarh et al. 2017,
"QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding",
section 3.1, scaled by the largest entry in the place of the norm. Of each
tensor x, with b bits and m = 2**(b - 1) - 1:

    1. s = max |x_i|                            (`divided`)
    2. y_i = m x_i / s
    3. q_i = floor(y_i + u_i), u_i uniform in [0, 1); or the nearest integer
    4. s, 4 bytes; and all q together, in a code of variable length, at most b
       bits each                                (`integers`)
    5. the server has s q_i / m                 (`decode`)

    E q_i = y_i, and each entry errs by less than s / m, of variance at most
    (s / m)**2 / 4; the nearest integer errs by s / (2 m) at most.

EDEN (Vargaftik et al. 2022, "EDEN: Communication-Efficient and Robust
Distributed Mean Estimation for Federated Learning", Algorithm 1), behind
`rotate`, whose d numbers x are nearly normal of deviation |x| / sqrt(d):

    1. z = sqrt(d) x / |x|
    2. q_i is the nearest of the 2**b levels c that have the least mean squared
       error for normal numbers (Lloyd 1982, Max 1960)    (`normal_levels`)
    3. S = |x|**2 / <x, c_q>, which makes the mean over rotations x
    4. S, 4 bytes; and q, b bits each
    5. the server has S c_q

    E |x - S c_q|**2 / |x|**2 nears 1 / (1 - e) - 1, e the error of the levels:
    0.1331, 0.0358, 0.0096 for 2, 3, 4 bits (one bit is DRIVE, `one_bit`).

Time: a pass over the numbers for each step, of uniform levels about ten to
place the codes and a draw of each client alone for stochastic rounding, of EDEN
b gathers. Memory: about 30 bytes a number and, of uniform levels, 16 b more.
"""

import dataclasses
import functools

import numpy as np
import scipy.stats
import tensorflow as tf

from tff_cnn.aggregators import codecs
from tff_cnn.aggregators.compression import bits, integers
from tff_cnn.aggregators.secure_sum import IntegerCode
from tff_cnn.core.errors import UsageError

_STREAM = 1
# From quantiles, which are nearly right, levels move by 1e-6 in the end.
_LLOYD_STEPS = 2000


@dataclasses.dataclass(frozen=True)
class UniformLevels:
    """Integers of `width` bits.

    Attributes:
      width: b, from 2 to 16.
      is_stochastic: Whether rounding is.
    """

    width: int
    is_stochastic: bool = True

    def encode(self, leaves, seeds):
        """Steps 1 to 4."""
        scales, found = [], []
        for index, leaf in enumerate(leaves):
            scale, unit = codecs.divided(leaf)
            seed = codecs.stream(seeds.own, _STREAM + index)
            scales.append(scale)
            found.append(self._rounded(unit, seed))
        message = integers.encode(codecs.joined(found), self.width)
        return [], (tf.stack(scales), message)

    def decode(self, left, beside, specs, shared):
        """Step 5."""
        del left, shared
        scales, message = beside
        size = sum(spec.shape.num_elements() for spec in specs)
        values = integers.decode(message, size, self.width)
        found = codecs.parted(tf.cast(values, tf.float32), specs)
        return [
            # In this order the largest entry comes back as it was.
            scale * (leaf / self._largest)
            for scale, leaf in zip(tf.unstack(scales), found, strict=True)
        ]

    def num_bytes(self, beside):
        scales, message = beside
        return codecs.num_bytes(scales) + bits.used_bytes(message)

    @property
    def _largest(self) -> int:
        return 2 ** (self.width - 1) - 1

    def _rounded(self, unit: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Numbers in [-1, 1] as integers: int32."""
        levels = unit * self._largest
        if self.is_stochastic:
            draw = tf.random.stateless_uniform(unit.shape, seed)
            levels = tf.floor(levels + draw)
        else:
            levels = tf.round(levels)
        # The largest, and nearly 1, may add up to one more.
        levels = tf.clip_by_value(levels, -self._largest, self._largest)
        return tf.cast(levels, tf.int32)


@dataclasses.dataclass(frozen=True)
class NormalLevels:
    """EDEN's levels, for numbers that a rotation has made nearly normal.

    Attributes:
      width: b, from 1 to 8.
    """

    width: int

    def encode(self, leaves, seeds):
        """Steps 1 to 4."""
        del seeds
        scales, found = [], []
        for leaf in leaves:
            largest, unit = codecs.divided(leaf)
            square = tf.reduce_sum(tf.square(unit))
            deviation = tf.sqrt(square / leaf.shape.num_elements())
            indices = self._nearest(tf.math.divide_no_nan(unit, deviation))
            product = tf.reduce_sum(unit * self._levels(indices))
            scales.append(largest * tf.math.divide_no_nan(square, product))
            found.append(indices)
        message = bits.pack(codecs.joined(found), self.width)
        return [], (tf.stack(scales), message)

    def decode(self, left, beside, specs, shared):
        """Step 5."""
        del left, shared
        scales, message = beside
        size = sum(spec.shape.num_elements() for spec in specs)
        indices = bits.unpack(message, self.width, size)
        found = codecs.parted(self._levels(indices), specs)
        return [
            scale * leaf
            for scale, leaf in zip(tf.unstack(scales), found, strict=True)
        ]

    def num_bytes(self, beside):
        return codecs.num_bytes(beside)

    def _levels(self, indices: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.constant(normal_levels(self.width)), indices)

    def _nearest(self, values: tf.Tensor) -> tf.Tensor:
        """The index of the nearest level, by halving: int32."""
        levels = normal_levels(self.width)
        middles = tf.constant((levels[1:] + levels[:-1]) / 2)
        found = tf.zeros(values.shape, tf.int32)
        for step in (2**k for k in reversed(range(self.width))):
            above = values > tf.gather(middles, found + (step - 1))
            found += step * tf.cast(above, tf.int32)
        return found


@functools.cache
def normal_levels(width: int) -> np.ndarray:
    """Levels of the least mean squared error for normal numbers: float32.

    Lloyd's iteration: each level is the mean of what is nearest to it.

    Args:
      width: log2 of how many there are.
    """
    count = 2**width
    normal = scipy.stats.norm
    # Of many levels, these are as dense (Panter and Dite 1951).
    levels = np.sqrt(3) * normal.ppf((np.arange(count) + 0.5) / count)
    for _ in range(_LLOYD_STEPS):
        middles = (levels[1:] + levels[:-1]) / 2
        edges = np.concatenate([[-np.inf], middles, [np.inf]])
        levels = -np.diff(normal.pdf(edges)) / np.diff(normal.cdf(edges))
    return ((levels - levels[::-1]) / 2).astype(np.float32)


def build_quantize(
    quantize_bits: int,
    quantize_rounding: str,
    quantize_levels: str,
    error_feedback: bool = False,
) -> codecs.Codec:
    """Builds the codec.

    Args:
      quantize_bits: b.
      quantize_rounding: "stochastic" or "nearest".
      quantize_levels: "uniform" or "eden".
      error_feedback: Of no concern here.
    """
    del error_feedback
    if quantize_levels == "eden":
        return NormalLevels(quantize_bits)
    return UniformLevels(quantize_bits, quantize_rounding == "stochastic")


def integer_code(
    quantize_bits: int,
    quantize_rounding: str,
    quantize_levels: str,
    error_feedback: bool = False,
) -> IntegerCode:
    """What of these codes can be summed, for a secure sum.

    Its scale is the sum's own bound: of a scale of each client's own the server
    sees nothing.

    Args:
      quantize_bits: b.
      quantize_rounding: "stochastic" or "nearest".
      quantize_levels: "uniform".
      error_feedback: False.

    Raises:
      UsageError: They cannot be summed, or fed back.
    """
    if quantize_levels != "uniform" or error_feedback:
        raise UsageError(
            "before secure_sum quantize has uniform levels and no error "
            "feedback: a sum is of equal levels, and clips what they cannot "
            "say; leave the other options out."
        )
    levels = 2 ** (quantize_bits - 1) - 1
    if quantize_rounding == "nearest":
        return IntegerCode(levels, lambda x, seed: tf.round(x))

    def stochastic(x, seed):
        draw = tf.random.stateless_uniform(tf.shape(x), seed, dtype=x.dtype)
        return tf.floor(x + draw)

    return IntegerCode(levels, stochastic)
