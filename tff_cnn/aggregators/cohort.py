"""All updates of a round, read a block of coordinates at a time.

A cohort's updates may be larger than memory (`runtime.in_process.rows`), and
nothing here makes more of them than a block: 2^22 numbers, of all clients that
count in as many coordinates as this allows. One pass reads each number once.
"""

from collections.abc import Callable

import tensorflow as tf

_BLOCK = 2**22

# float32 [clients that count, coordinates] -> numbers.
OfBlock = Callable[[tf.Tensor], tf.Tensor]


class Cohort:
    """Updates of the clients that count.

    Attributes:
      num_clients: int32, scalar, n >= 1.
      weights: float32, [n], positive.
    """

    def __init__(
        self, updates: list[tf.Tensor], weights: tf.Tensor, counts: tf.Tensor
    ):
        """Args:
        updates: Of all clients, float32, [clients, ...]; of static shapes but
          for the clients.
        weights: float32, [clients].
        counts: Who counts, [clients], bool.
        """
        self._shapes = [leaf.shape[1:] for leaf in updates]
        self._leaves = [
            tf.reshape(leaf, [-1, shape.num_elements()])
            for leaf, shape in zip(updates, self._shapes, strict=True)
        ]
        self._counts = counts
        self.weights = tf.boolean_mask(weights, counts)
        self.num_clients = tf.size(self.weights)

    def coordinatewise(self, reduce: OfBlock) -> list[tf.Tensor]:
        """One update of all.

        Args:
          reduce: float32, [n, coordinates] -> [coordinates], each of its own
            column alone.

        Returns:
          float32, shaped as the leaves of an update.
        """

        def step(block, found):
            values = tf.cast(reduce(block), tf.float32)
            return found.write(found.size(), values)

        def of(leaf):
            found = tf.TensorArray(
                tf.float32, 0, dynamic_size=True, infer_shape=False
            )
            return self._over_blocks(leaf, step, found).concat()

        return [
            tf.reshape(of(leaf), shape)
            for leaf, shape in zip(self._leaves, self._shapes, strict=True)
        ]

    def total(self, function: OfBlock, zero: tf.Tensor) -> tf.Tensor:
        """The sum over blocks of a function of each.

        Args:
          function: float32, [n, coordinates] -> numbers like `zero`.
          zero: Where the sum begins.
        """

        def step(block, found):
            return found + function(block)

        for leaf in self._leaves:
            zero = self._over_blocks(leaf, step, zero)
        return zero

    def _over_blocks(self, leaf, step, found):
        size = leaf.shape[1]
        width = tf.clip_by_value(_BLOCK // self.num_clients, 1, max(size, 1))

        def body(start, found):
            block = leaf[:, start : start + width]
            block = tf.boolean_mask(block, self._counts)
            return start + width, step(block, found)

        _, found = tf.while_loop(
            lambda start, _: start < size,
            body,
            (tf.constant(0), found),
            # Or as many blocks as that were in memory.
            parallel_iterations=1,
        )
        return found


def weighted_mean(cohort: Cohort, weights: tf.Tensor) -> list[tf.Tensor]:
    """sum_i a_i x_i of updates, as `Cohort.coordinatewise` returns it.

    Args:
      cohort: The updates x_i.
      weights: a_i, float64, [n].
    """
    return cohort.coordinatewise(
        lambda block: tf.linalg.matvec(
            tf.cast(block, tf.float64), weights, transpose_a=True
        )
    )
