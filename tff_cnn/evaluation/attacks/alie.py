"""A Little Is Enough: small changes that a defence takes for honest ones.

Baruch et al. 2019, "A Little Is Enough: Circumventing Defenses For Distributed
Learning" (preventing convergence). Of n clients m are corrupted; these train
honestly, and then:

    1. s = floor(n / 2 + 1) - m: honest clients that are needed for a majority
    2. z_max = max z such that Phi(z) < (n - m - s) / (n - m)
    3. for each coordinate j: mu_j and sigma_j, mean and standard deviation of
       the corrupted clients' own updates
    4. each of them sends mu_j - z_max sigma_j, as in the authors' code; the
       paper's algorithm adds

    symbol  name
    n, m    known.num_clients, known.num_attackers (of the round)
    z       z; None is z_max
    Phi     the standard normal distribution function

The paper is silent where its formula is no number or below 0: where attackers
are the majority s is 1 here, and where they are too few for any z > 0 (m = 1 of
10, say) z is 0, and they send their mean. One attacker alone has no deviation,
and sends what it has trained.

Costs two sums over the attackers in float64, as a variance from sums needs:
four times an update's memory.
"""

import dataclasses

import tensorflow as tf

from tff_cnn.core.update_attacks import Known
from tff_cnn.evaluation.attacks.attack import Attack


@dataclasses.dataclass(frozen=True)
class LittleIsEnough:
    """Attackers send the mean of their updates less z deviations.

    Attributes:
      z: >= 0; 0 is their mean. None is z_max.
    """

    z: float | None
    sees_honest = False

    def observed(self, update):
        """Numbers and their squares: for step 3."""
        exact = tf.nest.map_structure(lambda u: tf.cast(u, tf.float64), update)
        return exact, tf.nest.map_structure(tf.square, exact)

    def sent(self, update, known, attacker):
        """Step 4, the same of all attackers."""
        z = z_max(known) if self.z is None else self.z
        z, count = tf.cast(z, tf.float64), tf.cast(known.count, tf.float64)

        def changed(like, total, squares):
            mean = total / count
            variance = tf.maximum(squares / count - mean**2, 0.0)
            return tf.cast(mean - z * tf.sqrt(variance), like.dtype)

        return tf.nest.map_structure(changed, update, *known.total)


def z_max(known: Known) -> tf.Tensor:
    """Steps 1 and 2: float32, scalar, finite and >= 0."""
    honest = known.num_clients - known.num_attackers  # n - m
    majority = tf.floor(known.num_clients / 2 + 1)
    supporters = tf.maximum(majority - known.num_attackers, 1.0)  # s
    share = tf.math.divide_no_nan(honest - supporters, honest)
    return tf.math.ndtri(tf.maximum(share, 0.5))


def build_alie(alie_z: float | None) -> Attack:
    """The attack.

    Args:
      alie_z: > 0; None is the paper's.
    """
    return Attack(update=LittleIsEnough(alie_z))
