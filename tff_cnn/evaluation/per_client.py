"""Accuracy and loss of given weights on each client's own examples."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tff_cnn.core.weights import Weights
from tff_cnn.data.examples import ClientExamples
from tff_cnn.models import objectives, trainable


class _ClientMeans:
    """Evaluates weights of one Keras model on clients' training examples.

    What is computed of each example, a number, is said by a subclass.
    """

    def __init__(
        self,
        keras_model: tf.keras.Model,
        clients: ClientExamples,
        prepare: Callable[[tf.Tensor], tf.Tensor],
        objective: objectives.Objective = objectives.SOFTMAX,
        batch_size: int = 500,
    ):
        """Args:
        keras_model: Maps prepared images to logits; it is copied, with the
          weights that are frozen.
        clients: Their examples.
        prepare: Stored images -> model input (`Task.prepare`).
        objective: Says what is right.
        batch_size: Examples at a time; does not change the result.
        """
        self._model = tf.keras.models.clone_model(keras_model)
        trainable.match(self._model, keras_model)
        self._clients = clients
        self._prepare = prepare
        self._objective = objective
        self._batch_size = batch_size
        self._sum = tf.function(self._batch_sum, reduce_retracing=True)

    def __call__(
        self, weights: Weights, cohort: Sequence[int]
    ) -> list[float | None]:
        """The mean of each client; None where it has no examples."""
        trainable.assign(self._model, weights)
        return [self._of_client(client) for client in cohort]

    def _of_client(self, client: int) -> float | None:
        examples = self._clients[client]
        if not len(examples):
            return None
        total = 0.0
        for start in range(0, len(examples), self._batch_size):
            stop = start + self._batch_size
            images, labels = examples.images, examples.labels
            total += float(self._sum(images[start:stop], labels[start:stop]))
        return float(total / len(examples))

    def _batch_sum(self, images, labels):
        logits = self._model(self._prepare(images), training=False)
        return tf.reduce_sum(self._values(logits, labels))

    def _values(self, logits, labels):
        """Of each example: float32, [batch]."""
        raise NotImplementedError


class ClientAccuracy(_ClientMeans):
    """Of each client the part of its examples that is right, in [0, 1]."""

    def _values(self, logits, labels):
        return self._objective.correct(logits, labels)


class ClientLoss(_ClientMeans):
    """Of each client the mean loss that it is trained on, >= 0."""

    def _values(self, logits, labels):
        return self._objective.example_losses(logits, labels)
