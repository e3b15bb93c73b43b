"""Inner product manipulation: a mean that points backwards.

Xie et al. 2020, "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner
Product Manipulation". Attackers know what the honest clients H of the round
send, and

    1. each of them sends -epsilon / |H| times the sum of v_i over H

    symbol   name
    epsilon  epsilon
    v_i      update of an honest client

With m attackers of n clients of equal weight the mean is (n - m - epsilon m) /
n times the honest one: it turns round for epsilon > (n - m) / m. A small
epsilon is for rules that look for updates near one another, a large one for the
mean. The honest mean counts clients alike, whatever they weigh. Where nobody is
honest, attackers send zeros. Costs one more sum over the round's clients.
"""

import dataclasses

import tensorflow as tf

from tff_cnn.evaluation.attacks.attack import Attack


@dataclasses.dataclass(frozen=True)
class InnerProduct:
    """Attackers send a negative multiple of the honest mean.

    Attributes:
      epsilon: > 0.
    """

    epsilon: float
    sees_honest = True

    def observed(self, update):
        """The update."""
        return update

    def sent(self, update, known, attacker):
        """Step 1."""
        factor = tf.math.divide_no_nan(-self.epsilon, known.count)
        return tf.nest.map_structure(lambda v: factor * v, known.total)


def build_ipm(ipm_epsilon: float) -> Attack:
    """The attack.

    Args:
      ipm_epsilon: epsilon > 0.
    """
    return Attack(update=InnerProduct(ipm_epsilon))
