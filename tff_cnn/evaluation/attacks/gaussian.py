"""Noise in the place of an update.

Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent", experiments ("Gaussian"): attackers send numbers drawn from
N(0, sigma^2), independently. (Theirs are gradients, with sigma = 200.)

    symbol  name
    sigma   stddev

Costs a normal number for each that is sent.
"""

import dataclasses

import tensorflow as tf

from tff_cnn.evaluation.attacks.attack import Attack


@dataclasses.dataclass(frozen=True)
class GaussianNoise:
    """An attacker sends noise, new in each round.

    Attributes:
      stddev: Of each number, > 0.
    """

    stddev: float
    sees_honest = False

    def observed(self, update):
        """Nothing."""
        return ()

    def sent(self, update, known, attacker):
        """Noise like the update."""
        return normal(update, attacker.seed, self.stddev)


def normal(like, seed: tf.Tensor, stddev):
    """Normal numbers in the place of all numbers of a structure.

    Args:
      like: float32 tensors.
      seed: int64, [2].
      stddev: >= 0; 0 gives zeros.
    """
    leaves = tf.nest.flatten(like)
    seeds = tf.unstack(tf.random.split(seed, len(leaves)), len(leaves))
    drawn = [
        stddev * tf.random.stateless_normal(leaf.shape, own)
        for leaf, own in zip(leaves, seeds, strict=True)
    ]
    return tf.nest.pack_sequence_as(like, drawn)


def build_gaussian(gaussian_stddev: float) -> Attack:
    """Noise of a stated deviation.

    Args:
      gaussian_stddev: sigma > 0.
    """
    return Attack(update=GaussianNoise(gaussian_stddev))
