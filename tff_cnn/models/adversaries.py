"""Adversarial examples: images that are changed a little to raise the loss.

A little is at most epsilon a pixel (L-infinity), of images scaled to [0, 1],
which they do not leave:

    FGSM  x + epsilon sign(g(x))             Goodfellow et al. 2015, section 4
    PGD   x <- P(x + alpha sign(g(x))) from a random start
                                             Madry et al. 2018, section 2.1

    symbol   name
    epsilon  Perturbation.epsilon
    alpha    Perturbation.step_size
    g        loss_gradient: of the loss, in the image
    P        onto the pixels within epsilon of the image's own and within [0, 1]

FGSM is PGD with one step of size epsilon from the image itself. All here are
pure functions of tensors, for training and for evaluation.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

# (images, labels) -> gradient of the sum of the examples' losses in the images.
LossGradient = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
FGSM, PGD = "fgsm", "pgd"


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """What an adversary may do, and does.

    Attributes:
      epsilon: Most that a pixel is changed by, >= 0, of images scaled to
        [0, 1]; 0 changes nothing.
      num_steps: Gradients taken, >= 1.
      step_size: What a pixel moves by in a step, before P.
      random_start: Whether the first step is taken from a point drawn uniformly
        within epsilon of the image; else from the image.
    """

    epsilon: float
    num_steps: int
    step_size: float
    random_start: bool

    def scaled(self, factor: tf.Tensor) -> "Perturbation":
        """Likewise, within a bound that is `factor` times this one."""
        return dataclasses.replace(
            self,
            epsilon=self.epsilon * factor,
            step_size=self.step_size * factor,
        )


def fgsm(epsilon: float) -> Perturbation:
    """The fast gradient sign method."""
    return Perturbation(epsilon, 1, epsilon, random_start=False)


def pgd(
    epsilon: float,
    num_steps: int,
    step_size: float | None = None,
    random_start: bool = True,
) -> Perturbation:
    """Projected gradient descent.

    Args:
      epsilon: See `Perturbation`.
      num_steps: See `Perturbation`.
      step_size: None is 2.5 epsilon / num_steps, as in Madry et al.'s CIFAR
        challenge: enough to reach the edge from anywhere, and to move along it.
      random_start: See `Perturbation`.
    """
    if step_size is None:
        step_size = 2.5 * epsilon / num_steps
    return Perturbation(epsilon, num_steps, step_size, random_start)


def loss_gradient(
    logits_of: Callable[[tf.Tensor], tf.Tensor],
    example_losses: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> LossGradient:
    """The gradient that `perturbed` takes.

    Args:
      logits_of: Model input -> logits; differentiable.
      example_losses: (logits, labels) -> float32, [batch], as of an
        `objectives.Objective`.
    """

    def gradient(images, labels):
        with tf.GradientTape() as tape:
            tape.watch(images)
            losses = example_losses(logits_of(images), labels)
        return tape.gradient(losses, images)

    return gradient


def perturbed(
    gradient: LossGradient,
    images: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    perturbation: Perturbation,
) -> tf.Tensor:
    """Adversarial examples of a batch.

    What is outside [0, 1] already is moved no further out.

    Args:
      gradient: See `loss_gradient`; of models whose outputs for an example do
        not depend on others each example's is its own.
      images: float32, [batch, height, width, channels]: model input, scaled to
        [0, 1].
      labels: int32, [batch], or [batch, labels].
      seed: int64 or int32, [2]: of the random start; unused without.
      perturbation: What is done.

    Returns:
      float32, of the shape of `images`.
    """
    epsilon = perturbation.epsilon
    lowest = tf.maximum(images - epsilon, tf.minimum(images, 0.0))
    highest = tf.minimum(images + epsilon, tf.maximum(images, 1.0))

    def moved(found, by):
        return tf.minimum(tf.maximum(found + by, lowest), highest)

    def take_step(number, found):
        signs = tf.sign(gradient(found, labels))
        return number + 1, moved(found, perturbation.step_size * signs)

    start = images
    if perturbation.random_start:
        start = moved(
            images,
            tf.random.stateless_uniform(
                tf.shape(images), seed, -epsilon, epsilon
            ),
        )
    if perturbation.num_steps == 1:
        return take_step(0, start)[1]
    _, found = tf.while_loop(
        lambda number, _: number < perturbation.num_steps,
        take_step,
        (tf.constant(0), start),
    )
    return found
