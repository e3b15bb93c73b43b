"""FedDF: the mean of the clients' models is taught by all of them together.

Lin et al. 2020, "Ensemble Distillation for Robust Model Fusion in Federated
Learning", Algorithm 1 (one kind of model). In round t, with cohort S_t:

    1. the server sends x_{t-1} to the clients of S_t
    2. client k trains x_{t-1} on its data, giving x_t^k
    3. x_{t,0} = sum_k a_k x_t^k / sum_k a_k
    4. for j = 1..N, with a batch d of unlabeled public images:
    5.     p = softmax(1 / |S_t| sum_k f(x_t^k, d))
           x_{t,j} = x_{t,j-1} - eta_j dKL(p || softmax(f(x_{t,j-1}, d))) / dx
    6. x_t = x_{t,N}

    symbol  name
    a_k     weighting: examples trained on, or 1
    N       distill_steps; 0 is FedAvg
    |d|     distill_batch_size
    eta_1   distill_learning_rate; eta_j falls along a cosine to eta_N = 0

Steps 1 to 3 are FedAvg's, with its aggregator and server optimizer, and step 5
is Adam's, afresh in each round. Teachers predict as in inference; the student
is in training mode, dropout included, and batches are passes over all public
images in an order that is drawn.

Differs from the paper: N is fixed, where the paper stops once a validation set
at the server gets no better. A client that trained on nothing is no teacher.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.algorithms import fedavg, local_training
from tff_cnn.algorithms.local_rule import LocalRule
from tff_cnn.algorithms.local_training import Parts
from tff_cnn.algorithms.rule_process import RuleProcess
from tff_cnn.core.weights import Weights
from tff_cnn.models.functional import SeededFunctionalModel

# Images at a time of which a teacher's scores are computed.
_CHUNK = 500
_RATE = tff.learning.optimizers.LEARNING_RATE_KEY


@dataclasses.dataclass(frozen=True)
class SingleModels(LocalRule):
    """FedAvg's rule; the server is also given each client's model.

    It is what the process returns for a client, beside its update: the model,
    and 1, or 0 where there is none. Nothing is kept for a next round.
    """

    def initial_kept(self, weights):
        """No model."""
        return tuple(map(np.zeros_like, weights)), np.zeros((), np.float32)

    def result(self, trained):
        """(x_{t-1} - x_t^k, x_t^k)."""
        update, _ = LocalRule.result(self, trained)
        has_trained = tf.cast(trained.num_steps > 0, tf.float32)
        return update, (trained.weights, has_trained)


class Distillation:
    """Steps 4 to 6, in this process."""

    def __init__(
        self,
        model: SeededFunctionalModel,
        prepare: Callable[[tf.Tensor], tf.Tensor],
        learning_rate: float,
    ):
        """Args:
        model: Of teachers and student.
        prepare: Stored public images -> model input.
        learning_rate: eta_1, > 0.
        """
        self._model = model
        self._prepare = prepare
        self._optimizer = tff.learning.optimizers.build_adam(learning_rate)
        self._learning_rate = learning_rate
        self._scores = tf.function(self._batch_scores, reduce_retracing=True)
        self._train = tf.function(self._all_steps, autograph=False)

    def ensemble(
        self, teachers: Iterable[Weights], images: np.ndarray
    ) -> np.ndarray:
        """The mean of the teachers' logits: float32, [images, classes].

        Args:
          teachers: x_t^k, one at least; one is on the device at a time.
          images: As stored.
        """
        total, count = 0.0, 0
        for weights in teachers:
            total = total + self._logits(weights, images)
            count += 1
        return (total / count).astype(np.float32)

    def distilled(
        self,
        student: Weights,
        images: np.ndarray,
        logits: np.ndarray,
        batches: np.ndarray,
        seed: np.ndarray,
    ) -> tuple[list[np.ndarray], float]:
        """(x_{t,N}, mean of the KL divergence, in nats, over all steps).

        Args:
          student: x_{t,0}.
          images: As stored, [images, height, width, channels].
          logits: Of the ensemble, [images, classes].
          batches: int32, [N, |d|]: the images of each step; N >= 1.
          seed: int64, [2]; of dropout.
        """
        student = tuple(map(tf.convert_to_tensor, student))
        weights, loss = self._train(student, images, logits, batches, seed)
        return [weight.numpy() for weight in weights], float(loss)

    def _logits(self, weights: Weights, images: np.ndarray) -> np.ndarray:
        """float64, so that the order of teachers changes nothing."""
        weights = tuple(map(tf.convert_to_tensor, weights))
        chunks = [
            self._scores(weights, images[start : start + _CHUNK])
            for start in range(0, len(images), _CHUNK)
        ]
        return np.concatenate(chunks).astype(np.float64)

    def _batch_scores(self, weights, images):
        return self._model.predict_on_batch(
            (weights, ()), self._prepare(images), training=False
        )

    def _all_steps(self, student, images, logits, batches, seed):
        num_steps = tf.shape(batches)[0]
        seeds = local_training.step_seeds(seed, num_steps)
        images = self._prepare(images)  # GPUs cannot gather bytes.

        def take_step(number, weights, state, total):
            rows = tf.gather(batches, number)
            with tf.GradientTape() as tape:
                tape.watch(weights)
                predicted = self._model.forward(
                    weights, tf.gather(images, rows), tf.gather(seeds, number)
                )
                loss = divergence(tf.gather(logits, rows), predicted)
            part = tf.cast(number, tf.float32) / tf.cast(num_steps, tf.float32)
            state[_RATE] = self._learning_rate * cosine(part)
            state, weights = self._optimizer.next(
                state, weights, tape.gradient(loss, weights)
            )
            return number + 1, weights, state, total + loss

        state = self._optimizer.initialize(
            tf.nest.map_structure(
                lambda w: tf.TensorSpec(w.shape, w.dtype), student
            )
        )
        _, weights, _, total = tf.while_loop(
            lambda number, *_: number < num_steps,
            take_step,
            (tf.constant(0), student, state, tf.constant(0.0)),
        )
        return weights, total / tf.cast(num_steps, tf.float32)


def divergence(logits: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Mean of KL(softmax(logits) || softmax(predicted)) over a batch.

    Args:
      logits: Of the ensemble, float32, [batch, classes].
      predicted: Of the student, float32, [batch, classes].
    """
    difference = tf.nn.log_softmax(logits) - tf.nn.log_softmax(predicted)
    terms = tf.reduce_sum(tf.nn.softmax(logits) * difference, axis=-1)
    return tf.reduce_mean(terms)


def cosine(part: tf.Tensor) -> tf.Tensor:
    """What is left of a learning rate (Loshchilov & Hutter 2017).

    Args:
      part: In [0, 1]: of all steps those that were taken before.
    """
    return 0.5 * (1.0 + tf.cos(math.pi * part))


@dataclasses.dataclass(frozen=True)
class FedDf:
    """What rounds are made of.

    Attributes:
      clients: Steps 1 to 3; also returns each client's model.
      parts: Of the algorithm.
      num_steps: N.
      batch_size: |d|.
      learning_rate: eta_1.
    """

    clients: RuleProcess
    parts: Parts
    num_steps: int
    batch_size: int
    learning_rate: float

    @property
    def no_model(self) -> np.ndarray:
        """What a client hands over for the process to return: float32."""
        return self.clients.initial_kept

    def teachers(self, returned: Sequence[np.ndarray]) -> list[Weights]:
        """x_t^k of the clients that have one, from what came back of each."""
        return [
            _unpacked(found[:-1], self.clients.initial_weights)
            for found in map(np.asarray, returned)
            if found[-1]
        ]

    def server(self, prepare: Callable[[tf.Tensor], tf.Tensor]) -> Distillation:
        """Steps 4 to 6.

        Args:
          prepare: Stored public images -> model input.
        """
        return Distillation(self.parts.model, prepare, self.learning_rate)


def _unpacked(values: np.ndarray, like: Weights) -> list[np.ndarray]:
    ends = np.cumsum([np.size(w) for w in like])
    parts = np.split(values, ends[:-1])
    return [
        part.reshape(np.shape(w)) for part, w in zip(parts, like, strict=True)
    ]


def build_feddf(
    parts: Parts,
    distill_steps: int,
    distill_batch_size: int,
    distill_learning_rate: float,
    **public_data: Any,
) -> FedDf:
    """Builds the process of the clients; the server's waits for public data.

    Args:
      parts: As of `fedavg.build_fedavg`.
      distill_steps: N, >= 0.
      distill_batch_size: |d|, >= 1.
      distill_learning_rate: eta_1, > 0.
      **public_data: For whoever builds the task.
    """
    del public_data
    return FedDf(
        fedavg.build_with(parts, SingleModels()),
        parts,
        distill_steps,
        distill_batch_size,
        distill_learning_rate,
    )
