"""Attackers that change what they have trained by themselves."""

import dataclasses

import tensorflow as tf

from tff_cnn.evaluation.attacks.attack import Attack


@dataclasses.dataclass(frozen=True)
class Scaled:
    """An attacker sends a multiple of its update.

    Attributes:
      factor: Any.
    """

    factor: float
    sees_all = False

    def observed(self, update):
        """Nothing."""
        return ()

    def sent(self, update, known, count, seed):
        """factor x update."""
        del known, count, seed
        return tf.nest.map_structure(lambda leaf: self.factor * leaf, update)


def build_sign_flip(attack_scale: float) -> Attack:
    """Against the gradient (Li et al. 2019, "RSA", section 5).

    Args:
      attack_scale: > 0.
    """
    return Attack(update=Scaled(-attack_scale))
