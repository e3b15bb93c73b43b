"""Clients that take the model and give nothing.

Fraboni et al. 2021, "Free-rider Attacks on Model Aggregation in Federated
Learning". In round t:

    1. plain: the free rider sends w_t back, which is an update of zero
    2. disguised: w_t + sigma t^-gamma N(0, I), so that updates shrink as those
       of others do

    symbol  name
    sigma   stddev      (0 is plain)
    gamma   decay       (0 is noise of one size)
    t       attacker.round_num

Lin et al. 2019 ("Free-riders in Federated Learning: Attacks and Defenses") have
the same with other disguises. Under a mean free riders of a share f shrink the
server's step to 1 - f of what it were. Costs what noise costs, or nothing.
"""

import dataclasses

import tensorflow as tf

from tff_cnn.evaluation.attacks.attack import Attack
from tff_cnn.evaluation.attacks.gaussian import normal


@dataclasses.dataclass(frozen=True)
class FreeRider:
    """An attacker sends nothing, or noise that decays over rounds.

    Attributes:
      stddev: Of each number in round 1, >= 0.
      decay: >= 0.
    """

    stddev: float
    decay: float
    sees_honest = False

    def observed(self, update):
        """Nothing."""
        return ()

    def sent(self, update, known, attacker):
        """Zeros, or noise, like the update."""
        if not self.stddev:
            return tf.nest.map_structure(tf.zeros_like, update)
        stddev = self.stddev * attacker.round_num**-self.decay
        return normal(update, attacker.seed, stddev)


def build_free_rider(
    free_rider_stddev: float, free_rider_decay: float
) -> Attack:
    """Updates of nothing, disguised if asked.

    Args:
      free_rider_stddev: sigma >= 0.
      free_rider_decay: gamma >= 0.
    """
    return Attack(update=FreeRider(free_rider_stddev, free_rider_decay))
