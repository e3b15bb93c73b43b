"""What builds client and server optimizers, where TFF's own does not fit."""

import tensorflow_federated as tff


def build_sgd(
    learning_rate: float, momentum: float = 0.0
) -> tff.learning.optimizers.Optimizer:
    """Gradient descent; without momentum it has no state.

    Args:
      learning_rate: > 0.
      momentum: In [0, 1).
    """
    return tff.learning.optimizers.build_sgdm(learning_rate, momentum or None)
