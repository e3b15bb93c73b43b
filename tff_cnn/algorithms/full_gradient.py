"""The gradient over all of a client's examples, batch by batch.

The mean of batches' mean gradients, weighted by their examples, is that of all
of them, where they are of the same weights; however many there are at a time,
up to rounding.
"""

from typing import Any, NamedTuple

import tensorflow as tf


class FullGradient(NamedTuple):
    """What is known of it so far.

    Attributes:
      sums: float32 tensors: over examples, of their gradients.
      num_examples: float32, scalar: so many.
    """

    sums: tuple[tf.Tensor, ...]
    num_examples: tf.Tensor

    @classmethod
    def of_nothing(cls, weights: Any) -> "FullGradient":
        """Before the first batch; of gradients like `weights`."""
        return cls(tuple(map(tf.zeros_like, weights)), tf.zeros([]))

    def plus(self, gradients: Any, is_real: tf.Tensor) -> "FullGradient":
        """With one batch more.

        Args:
          gradients: Of the batch's mean loss.
          is_real: As of a `Step`.
        """
        size = tf.reduce_sum(is_real)
        sums = [s + size * g for s, g in zip(self.sums, gradients, strict=True)]
        return FullGradient(tuple(sums), self.num_examples + size)

    @property
    def mean(self) -> tuple[tf.Tensor, ...]:
        """Over all examples; zeros where there are none."""
        return tuple(
            tf.math.divide_no_nan(s, self.num_examples) for s in self.sums
        )
