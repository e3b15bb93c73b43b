"""Matrices of low rank in the place of those of an update.

Vogels et al. 2019, "PowerSGD: Practical Low-Rank Gradient Compression for
Distributed Optimization", Algorithm 1, of each client by itself: there the
factors of all workers are averaged one after the other, in two exchanges a
step, and a client of a round has one. Of each matrix M, m x n, and r the rank:

    1. Q, n x r, of standard normal numbers, drawn of the round: nobody sends it
    2. P = M Q
    3. P = an orthonormal basis of its columns     (`orthonormal`)
    4. Q = M^T P
    5. P and Q, which the next codec may encode further
    6. the server has P Q^T

    It is M projected on the columns of P: |M - P Q^T| <= |M|, and with s_i the
    singular values of M and any k < r - 1 (Halko et al. 2011, Theorem 10.5)

        E |M - P Q^T|**2 <= (1 + k / (r - k - 1)) sum over i > k of s_i**2.

A kernel [height, width, in, out] is the matrix [height width in, out]. Vectors,
and matrices that are no larger than their factors, are sent as they are: so r
>= min(m, n) gives back M.

PowerSGD goes on from the last round's Q; clients that take part seldom have
none. What is left out is biased, and needs error feedback.

Time: 4 m n r and r**2 m products a matrix. Memory: that of the factors, and of
M. Bytes: 4 r (m + n) a matrix.
"""

import dataclasses

import tensorflow as tf

from tff_cnn.aggregators import codecs

_STREAM = 1 << 17
# Of a column of length 1: what rounding leaves of it in float32, and more.
_SPANNED = 1e-5


@dataclasses.dataclass(frozen=True)
class LowRank:
    """Factors of matrices.

    Attributes:
      rank: r >= 1.
    """

    rank: int

    def encode(self, leaves, seeds):
        """Steps 1 to 5."""
        left = []
        for index, leaf in enumerate(leaves):
            shape = self._factored(leaf.shape)
            if shape is None:
                left.append(leaf)
                continue
            # Products of entries of any size that is finite would overflow.
            scale, matrix = codecs.divided(tf.reshape(leaf, shape))
            seed = codecs.stream(seeds.shared, _STREAM + index)
            draw = tf.random.stateless_normal([shape[1], self.rank], seed)
            basis = orthonormal(tf.linalg.matmul(matrix, draw))
            factor = tf.linalg.matmul(matrix, basis, transpose_a=True)
            left += [basis, scale * factor]
        return left, ()

    def decode(self, left, beside, specs, shared):
        """Step 6."""
        del beside, shared
        rest, found = iter(left), []
        for spec in specs:
            leaf = next(rest)
            if self._factored(spec.shape) is not None:
                leaf = tf.linalg.matmul(leaf, next(rest), transpose_b=True)
            found.append(tf.reshape(leaf, spec.shape))
        return found

    def num_bytes(self, beside):
        return codecs.num_bytes(beside)

    def _factored(self, shape: tf.TensorShape) -> list[int] | None:
        """The matrix that a tensor is sent as the factors of, if it is."""
        if shape.rank < 2:
            return None
        columns = shape[-1]
        rows = shape.num_elements() // max(columns, 1)
        if self.rank * (rows + columns) >= rows * columns:
            return None
        return [rows, columns]


def orthonormal(matrix: tf.Tensor) -> tf.Tensor:
    """An orthonormal basis of columns, by Gram and Schmidt, twice.

    Once leaves rounding errors where columns are nearly the same; twice is
    enough (Giraud et al. 2005). A column that those before it span becomes
    zero: what is left of it are rounding errors, which point anywhere.

    Args:
      matrix: float32, [m, r].
    """
    found: list[tf.Tensor] = []
    for column in tf.unstack(matrix, axis=1):
        column = _unit(column, 0.0)
        for _ in range(2):
            for other in found:
                column -= tf.reduce_sum(other * column) * other
            column = _unit(column, _SPANNED)
        found.append(column)
    return tf.stack(found, 1)


def _unit(column: tf.Tensor, least: float) -> tf.Tensor:
    """Of length 1; zeros where it is no longer than `least`."""
    length = tf.sqrt(tf.reduce_sum(tf.square(column)))
    unit = tf.math.divide_no_nan(column, length)
    return tf.where(length > least, unit, tf.zeros_like(unit))


def build_low_rank(
    matrix_rank: int, error_feedback: bool = False
) -> codecs.Codec:
    """Builds the codec.

    Args:
      matrix_rank: r.
      error_feedback: Of no concern here.
    """
    del error_feedback
    return LowRank(matrix_rank)
