"""Federated adversarial training.

Zizzo et al. 2020, "FAT: Federated Adversarial Training": FedAvg whose clients
train on adversarial examples (Madry et al. 2018), made anew in each local step
against the weights that the client has by then:

    1. the server sends w_t to the clients of S_t           (distributor)
    2. for each batch b, client k makes x' of a share of b,
       max over |x' - x| <= epsilon of l(w; x', y),
       and steps w <- opt(w, grad l(w; b'))                 (client work)
    3. and 4. as in FedAvg

    symbol   name
    epsilon  adversarial_epsilon
    x'       models.adversaries.perturbed: by FGSM or PGD

A share of 0 is FedAvg, to the bit; 1 is Madry et al.'s training, and what is
between the paper's mix of both kinds in a batch. (The paper draws the images of
a batch that are attacked; here they are its first, of a batch that was drawn.)

With `adversarial_warmup_rounds` W the adversary begins small: epsilon and the
steps of its attack are 1 / (W + 1), 2 / (W + 1), ... of what they are from
round W + 1 on. From scratch a bound of 0.3 on MNIST leaves a small network at
guessing (BUILD_NOTES.md, "Defaults").

The attack is made on the model as it is trained: with dropout, and with the
very masks of the step that is then taken. `train_loss` and `train_accuracy`
are of the batch with its adversarial examples. An attack of s steps takes s
gradients in the images besides the one in the weights: at PGD's 10 steps a
round takes several times FedAvg's time.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.algorithms import fedavg, schedules
from tff_cnn.algorithms.local_rule import GradientFunction, LocalRule, Step
from tff_cnn.algorithms.local_training import Parts
from tff_cnn.models import adversaries
from tff_cnn.models.adversaries import Perturbation

_DEFAULT_STEPS = 10


@dataclasses.dataclass(frozen=True)
class OnAdversarial(LocalRule):
    """Steps are taken on adversarial examples.

    Attributes:
      perturbation: What the adversary does.
      fraction: Share of each batch that it does it to, in (0, 1].
      forward: (weights, images, seed) -> logits, differentiable in images.
      example_losses: (logits, labels) -> float32, [batch].
    """

    perturbation: Perturbation
    fraction: float
    forward: Callable[..., tf.Tensor]
    example_losses: Callable[..., tf.Tensor]

    # Client step.

    def gradients(self, base: GradientFunction, step: Step) -> tuple:
        """Of step 2."""
        count = _share(tf.shape(step.labels)[0], self.fraction)
        attacked = self._attacked(step, count)
        # Padding comes last, and does not count.
        is_attacked = tf.range(count) < _share(
            tf.math.count_nonzero(step.is_real, dtype=tf.int32), self.fraction
        )
        first = tf.where(
            is_attacked[:, None, None, None], attacked, step.images[:count]
        )
        images = tf.concat([first, step.images[count:]], 0)
        return base(step._replace(images=images))

    def _attacked(self, step: Step, count: tf.Tensor) -> tf.Tensor:
        """The first `count` images, made adversarial."""
        perturbation = self.perturbation
        if step.in_round is not None:
            perturbation = perturbation.scaled(step.in_round)
        gradient = adversaries.loss_gradient(
            lambda images: self.forward(step.weights, images, step.seed),
            self.example_losses,
        )
        return adversaries.perturbed(
            gradient,
            step.images[:count],
            step.labels[:count],
            ~step.seed,  # That of dropout is taken.
            perturbation,
        )


def in_round(options: Any, number: int) -> float | None:
    """The part of epsilon that an adversary has in a round, in (0, 1].

    Args:
      options: With `adversarial_warmup_rounds`.
      number: Of the round.
    """
    if not options.adversarial_warmup_rounds:
        return None
    return schedules.constant(number, 0, options.adversarial_warmup_rounds)


def _share(count: tf.Tensor, fraction: float) -> tf.Tensor:
    """The part of `count` examples that is attacked, at least one: int32."""
    part = tf.round(fraction * tf.cast(count, tf.float32))
    return tf.maximum(tf.cast(part, tf.int32), 1)


def build_adversarial(
    parts: Parts,
    adversarial_method: str,
    adversarial_epsilon: float,
    adversarial_fraction: float,
    adversarial_steps: int | None,
    adversarial_step_size: float | None,
    adversarial_random_start: bool,
    adversarial_warmup_rounds: int = 0,
    **evaluation: object,
) -> tff.learning.templates.LearningProcess:
    """Builds the process.

    Args:
      parts: As of `fedavg.build_fedavg`; what the model takes is scaled to
        [0, 1].
      adversarial_method: "fgsm" or "pgd".
      adversarial_epsilon: See `adversaries.Perturbation`.
      adversarial_fraction: Share of each batch that is attacked, in [0, 1]: the
        nearest number of examples, and at least one unless it is 0.
      adversarial_steps: Of "pgd"; None is 10.
      adversarial_step_size: Of "pgd"; None follows from the two above.
      adversarial_random_start: Of "pgd".
      adversarial_warmup_rounds: Of `in_round`.
      **evaluation: Options of `evaluation.robust`.
    """
    del evaluation, adversarial_warmup_rounds
    if not adversarial_fraction:
        return fedavg.build_fedavg(parts)
    perturbation = adversaries.fgsm(adversarial_epsilon)
    if adversarial_method == adversaries.PGD:
        perturbation = adversaries.pgd(
            adversarial_epsilon,
            adversarial_steps or _DEFAULT_STEPS,
            adversarial_step_size,
            adversarial_random_start,
        )
    rule = OnAdversarial(
        perturbation,
        adversarial_fraction,
        parts.model.image_forward(),
        parts.model.example_losses,
    )
    return fedavg.build_with(parts, rule)
