"""Accuracy and loss of each client, and what they say of all of them.

Federated evaluation as of Wang et al. 2021 ("A Field Guide to Federated
Optimization", section 3.2): every client measures a model on its own examples.
A mean over examples hides the clients that a model serves badly; their
distribution shows them.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tff_cnn.core import randomness
from tff_cnn.core.weights import Weights
from tff_cnn.data.examples import ClientExamples, Examples, Stored
from tff_cnn.models import objectives, trainable

# (logits of images, images, labels, seed) -> images that are measured in the
# place of these: float32, as the model takes them; seed is int64, [2].
Perturbation = Callable[
    [Callable[[tf.Tensor], tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor],
    tf.Tensor,
]
_TENTHS = np.arange(1, 10)


class ClientMetrics(NamedTuple):
    """Of some clients, in their order.

    Attributes:
      examples: int64, [clients].
      accuracy: float64, [clients], in [0, 1]; NaN without examples.
      loss: float64, [clients], mean over examples; NaN without.
    """

    examples: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray


class FederatedEvaluation:
    """Measures weights of one Keras model on each client's examples."""

    def __init__(
        self,
        keras_model: tf.keras.Model,
        like: Stored,
        prepare: Callable[[tf.Tensor], tf.Tensor],
        objective: objectives.Objective = objectives.SOFTMAX,
        batch_size: int = 500,
        perturb: Perturbation | None = None,
    ):
        """Args:
        keras_model: Maps prepared images to logits; it is copied, with the
          weights that are frozen.
        like: Examples of the kind that clients have.
        prepare: Stored images -> model input (`Task.prepare`).
        objective: Of which loss and accuracy are the means.
        batch_size: Examples at a time; without `perturb` it does not change
          the result.
        perturb: What is done to images before; None leaves them.
        """
        self._model = tf.keras.models.clone_model(keras_model)
        trainable.match(self._model, keras_model)
        self._prepare = prepare
        self._objective = objective
        self._batch_size = batch_size
        self._perturb = perturb
        # One graph, whatever the sizes of batches are.
        self._measure = tf.function(
            self._of_batch,
            input_signature=[
                tf.TensorSpec([None, *like.image_shape], like.dtype),
                tf.TensorSpec([None, *like.labels.shape[1:]], tf.int32),
                tf.TensorSpec([2], tf.int64),
            ],
        )

    def __call__(
        self,
        clients: ClientExamples,
        weights: Weights | Callable[[int], Weights],
        cohort: Sequence[int] | None = None,
        seed: int = 0,
    ) -> ClientMetrics:
        """What each client of a cohort measures.

        Args:
          clients: Their examples.
          weights: The trainable ones of the model; or a function of a client,
            where each has a model of its own.
          cohort: Clients, each of which may come again; None is all.
          seed: Root of what `perturb` draws.
        """
        cohort = range(len(clients)) if cohort is None else cohort
        if not callable(weights):
            return self._of_shared(clients, weights, cohort, seed)
        found = [
            self._of_shared(clients, functools.partial(weights, c), [c], seed)
            for c in cohort
        ]
        if not found:
            return ClientMetrics(np.zeros(0, np.int64), *np.zeros((2, 0)))
        return ClientMetrics(*map(np.concatenate, zip(*found, strict=True)))

    def _of_shared(
        self,
        clients: ClientExamples,
        weights: Weights | Callable[[], Weights],
        cohort: Sequence[int],
        seed: int,
    ) -> ClientMetrics:
        """Examples of many clients go through the model together."""
        sizes = np.array([clients.num_examples(c) for c in cohort], np.int64)
        sums = np.zeros((2, len(sizes)))
        if sizes.sum():
            given = weights() if callable(weights) else weights
            trainable.assign(self._model, given)
            pooled = clients.pooled(cohort)
            owners = np.repeat(np.arange(len(sizes)), sizes)
            for start in range(0, len(owners), self._batch_size):
                rows = np.arange(
                    start, min(start + self._batch_size, len(owners))
                )
                drawn = randomness.stateless_seed(
                    seed, randomness.Purpose.PERTURBATION, start, cohort[0]
                )
                values = self._of_examples(pooled.take(rows), drawn)
                for total, value in zip(sums, values, strict=True):
                    np.add.at(total, owners[rows], value)
        with np.errstate(invalid="ignore"):
            correct, losses = sums / sizes
        return ClientMetrics(sizes, correct, losses)

    def _of_examples(self, batch: Examples, seed: np.ndarray) -> Any:
        """Whether each is right, and its loss: float32, [batch] each."""
        found = self._measure(batch.images, batch.labels, seed)
        return [value.numpy() for value in found]

    def _of_batch(self, images, labels, seed):
        def logits_of(prepared):
            return self._model(prepared, training=False)

        images = self._prepare(images)
        if self._perturb is not None:
            images = self._perturb(logits_of, images, labels, seed)
        logits = logits_of(images)
        return (
            self._objective.correct(logits, labels),
            self._objective.example_losses(logits, labels, weighted=False),
        )


def statistics(values: np.ndarray, examples: np.ndarray) -> dict[str, Any]:
    """What a metric of each client says of all of them.

    A client without examples has no metric: it is counted, and left out.

    Args:
      values: float64, [clients]; of clients without examples anything.
      examples: int64, [clients], >= 0.

    Returns:
      `num_clients`; `num_without_examples`, of these; `num_examples`; and
      `uniform`, where each client counts the same, and `weighted`, where it
      counts by its examples: the `mean`, the `variance` (of the population),
      `deciles`, nine of them: the least value that so many tenths of the
      clients do not exceed; and `worst_decile`, the mean over the tenth of the
      clients with the lowest values, of whom the last may count in part.
      All of these are None where no client has examples.
    """
    values, examples = np.asarray(values, float), np.asarray(examples)
    has_any = examples > 0
    order = np.argsort(values[has_any], kind="stable")
    sorted_values = values[has_any][order]
    weights = examples[has_any][order].astype(float)
    return {
        "num_clients": len(examples),
        "num_without_examples": int(np.sum(~has_any)),
        "num_examples": int(examples.sum()),
        "uniform": _distribution(sorted_values, np.ones_like(weights)),
        "weighted": _distribution(sorted_values, weights),
    }


def _distribution(values: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """Of sorted values; weights are whole numbers > 0."""
    if not len(values):
        return dict.fromkeys(("mean", "variance", "deciles", "worst_decile"))
    total = weights.sum()
    reached = weights.cumsum()
    # All times ten, so that nothing is rounded.
    deciles = values[np.searchsorted(10 * reached, _TENTHS * total)]
    within = np.clip(total - 10 * (reached - weights), 0, 10 * weights)
    with np.errstate(invalid="ignore"):  # Of a model that has diverged.
        mean = weights @ values / total
        variance = weights @ (values - mean) ** 2 / total
        worst = within @ values / total
    return {
        "mean": float(mean),
        "variance": float(variance),
        "deciles": deciles.tolist(),
        "worst_decile": float(worst),
    }
