"""Accuracy on adversarial examples: what is left when images are attacked.

PGD (`models.adversaries`) on the model as it predicts, with its weights known.
Such an accuracy is an upper bound: a stronger adversary may leave less.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tff_cnn.core.weights import Weights
from tff_cnn.data.examples import Stored
from tff_cnn.models import adversaries, objectives, trainable
from tff_cnn.models.adversaries import Perturbation


def robust_correct(
    logits_of: Callable[[tf.Tensor], tf.Tensor],
    images: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    perturbation: Perturbation,
    objective: objectives.Objective = objectives.SOFTMAX,
) -> tf.Tensor:
    """How right a model is about images that were changed to mislead it.

    Args:
      logits_of: Model input -> logits.
      images: float32, [batch, height, width, channels]: model input, scaled to
        [0, 1].
      labels: int32, [batch], or [batch, labels].
      seed: int64, [2]; of the random start.
      perturbation: What the adversary does.
      objective: Whose loss is raised, and which says what is right.

    Returns:
      float32, [batch], in [0, 1].
    """

    def losses(logits, labels):
        return objective.example_losses(logits, labels, weighted=False)

    gradient = adversaries.loss_gradient(logits_of, losses)
    attacked = adversaries.perturbed(
        gradient, images, labels, seed, perturbation
    )
    return objective.correct(logits_of(attacked), labels)


class RobustAccuracy:
    """Evaluates weights of one Keras model on attacked examples of one set."""

    def __init__(
        self,
        keras_model: tf.keras.Model,
        examples: Stored,
        prepare: Callable[[tf.Tensor], tf.Tensor],
        perturbation: Perturbation,
        seed: np.ndarray,
        objective: objectives.Objective = objectives.SOFTMAX,
        batch_size: int = 500,
    ):
        """Args:
        keras_model: Maps prepared images to logits; it is copied, with the
          weights that are frozen.
        examples: What to evaluate on; not empty.
        prepare: Stored images -> model input, scaled to [0, 1].
        perturbation: What the adversary does.
        seed: int64, [2]; the same random starts in each evaluation.
        objective: Whose loss is raised, and which says what is right.
        batch_size: Examples at a time; random starts differ with it.
        """
        self._model = tf.keras.models.clone_model(keras_model)
        trainable.match(self._model, keras_model)
        self._examples = examples
        self._prepare = prepare
        self._perturbation = perturbation
        self._seed = seed
        self._objective = objective
        self._batch_size = batch_size
        self._sum = tf.function(
            self._num_correct,
            input_signature=[
                tf.TensorSpec([None, *examples.image_shape], examples.dtype),
                tf.TensorSpec([None, *examples.labels.shape[1:]], tf.int32),
                tf.TensorSpec([2], tf.int64),
            ],
        )

    def __call__(self, weights: Weights) -> dict[str, float]:
        """`robust_accuracy`, in [0, 1]."""
        trainable.assign(self._model, weights)
        size = len(self._examples)
        starts = range(0, size, self._batch_size)
        seeds = tf.random.split(self._seed, len(starts))
        correct = 0.0
        for start, seed in zip(starts, seeds, strict=True):
            stop = min(start + self._batch_size, size)
            batch = self._examples.take(np.arange(start, stop))
            correct += float(self._sum(batch.images, batch.labels, seed))
        return {"robust_accuracy": correct / size}

    def _num_correct(self, images, labels, seed):
        correct = robust_correct(
            lambda prepared: self._model(prepared, training=False),
            self._prepare(images),
            labels,
            seed,
            self._perturbation,
            self._objective,
        )
        return tf.reduce_sum(correct)
