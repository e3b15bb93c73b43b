"""Multiples of updates: away from where training goes, or too far.

Sign flipping (Li et al. 2019, "RSA: Byzantine-Robust Stochastic Aggregation
Methods for Distributed Learning from Heterogeneous Datasets", experiments): an
attacker sends -c times what it should, here its update. With c = 1 and a share
f of attackers of equal weight the mean is 1 - 2 f of what it were, and turns
round from f = 1/2 on; with c = (1 - f) / f it is nothing. Scaling is the same
with a positive factor: as it grows one client alone decides the mean, which
Blanchard et al. 2017 (Lemma 1) show of any linear rule and a client that sends
what it likes.

    symbol  name
    -c      factor

Costs a multiplication a number; nothing else is sent.
"""

import dataclasses

import tensorflow as tf

from tff_cnn.evaluation.attacks.attack import Attack


@dataclasses.dataclass(frozen=True)
class Scaled:
    """An attacker sends a multiple of its update; 1 is no attack.

    Attributes:
      factor: Any.
    """

    factor: float
    sees_honest = False

    def observed(self, update):
        """Nothing."""
        return ()

    def sent(self, update, known, attacker):
        """factor x update."""
        return tf.nest.map_structure(lambda leaf: self.factor * leaf, update)


def build_sign_flip(attack_scale: float) -> Attack:
    """Against the gradient.

    Args:
      attack_scale: c > 0.
    """
    return Attack(update=Scaled(-attack_scale))


def build_scaled(scaled_factor: float) -> Attack:
    """Along the gradient, and too far.

    Args:
      scaled_factor: > 0.
    """
    return Attack(update=Scaled(scaled_factor))
