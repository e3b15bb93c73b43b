"""Clients that send something else than what they have trained.

What they send is a function of their own update and of what attackers know
together: a sum over the attackers of a round, or over all its clients.
"""

from typing import Any, Protocol

import tensorflow as tf
import tensorflow_federated as tff

# The field of a client's element that says whether it attacks: float32, [], 1
# or 0. A process whose elements lack it knows nothing of attacks.
FIELD = "attacker"
SPEC = tf.TensorSpec([], tf.float32)


class UpdateAttack(Protocol):
    """What attackers do to updates. Methods are pure functions of tensors.

    Attributes:
      sees_all: Whether what attackers know is of all clients of the round, or
        of themselves.
    """

    sees_all: bool

    def observed(self, update: Any) -> Any:
        """What an update adds to what attackers know.

        Args:
          update: float32 tensors, as the client has trained it.

        Returns:
          A structure of float32 tensors; () is nothing.
        """

    def sent(
        self, update: Any, known: Any, count: tf.Tensor, seed: tf.Tensor
    ) -> Any:
        """What an attacker sends.

        Args:
          update: As it has trained it.
          known: Sum of `observed`.
          count: float32, scalar: of how many clients; >= 1.
          seed: int64, [2]: of the client and round.

        Returns:
          Tensors like `update`.
        """


def federated(attack: UpdateAttack, value_type: tff.Type) -> Any:
    """(updates, attackers, seeds) at the clients -> what they send.

    Args:
      attack: What attackers do.
      value_type: Of an update.
    """
    flag_type = tff.TensorType(tf.float32.as_numpy_dtype)
    seed_type = tff.TensorType(tf.int64.as_numpy_dtype, [2])

    @tff.tensorflow.computation(value_type, flag_type)
    def observe(update, attacker):
        counts = 1.0 if attack.sees_all else attacker
        observed = tf.nest.map_structure(
            # Not by a product: attackers may have numbers that are infinite.
            lambda x: tf.where(counts > 0, x, tf.zeros_like(x)),
            attack.observed(update),
        )
        return observed, tf.convert_to_tensor(counts)

    known_type, count_type = observe.type_signature.result

    @tff.tensorflow.computation(
        value_type, flag_type, seed_type, known_type, count_type
    )
    def send(update, attacker, seed, known, count):
        sent = attack.sent(update, known, tf.maximum(count, 1.0), seed)
        return tf.nest.map_structure(
            lambda honest, bad: tf.where(attacker > 0, bad, honest),
            update,
            sent,
        )

    def next_fn(update, attacker, seed):
        observed, count = tff.federated_map(observe, (update, attacker))
        known = tff.federated_broadcast(tff.federated_sum(observed))
        total = tff.federated_broadcast(tff.federated_sum(count))
        return tff.federated_map(send, (update, attacker, seed, known, total))

    return next_fn
