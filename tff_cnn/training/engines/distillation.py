"""Synchronous rounds, after which the server distils on public examples."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff

from tff_cnn.algorithms.feddf import Distillation, FedDf
from tff_cnn.algorithms.rule_process import KEPT
from tff_cnn.core import randomness
from tff_cnn.core.errors import UsageError
from tff_cnn.core.weights import Weights
from tff_cnn.training.engine import StepResult, Work
from tff_cnn.training.engines import federated


def build(run: Any, scratch: pathlib.Path | None) -> "Distilled":
    """The engine of a `training.assembly.Run`.

    Raises:
      UsageError: Images have several labels, or one of two with one logit:
        there is no softmax over classes to be taught.
    """
    del scratch  # Clients keep nothing.
    task = run.task
    if task.objective.name != "classes":
        raise UsageError(
            "<algorithm>=feddf distils probabilities of classes, one an image, "
            "and <model> gives none: use other data, or another <algorithm>."
        )
    return Distilled(
        run.process,
        run.process.server(task.prepare_public),
        task.public.images,
        run.config.seed,
        run.sample_cohort,
        run.client_data,
    )


@dataclasses.dataclass(frozen=True)
class Distilled:
    """An `Engine` over a `FedDf`. Its state is that of the clients' process.

    While a round is distilled the models of its whole cohort are in memory,
    and one of them on the device.

    Attributes:
      process: Of the algorithm.
      server: That distils.
      images: The public ones, as stored.
      seed: Of the run.
      sample_cohort: Round -> client ids.
      client_data: (client, round) -> that client's argument to the process, but
        for what it is to return.
    """

    process: FedDf
    server: Distillation
    images: np.ndarray
    seed: int
    sample_cohort: Callable[[int], Sequence[int]]
    client_data: Callable[[int, int], Any]

    def initialize(self) -> Any:
        """The initial state of the clients' process."""
        return self.process.clients.process.initialize()

    def plan(self, number: int) -> Work:
        """The cohort, and what each of its clients hands to the process."""
        cohort = self.sample_cohort(number)
        data = [self.client_data(client, number) for client in cohort]
        return Work(number, cohort, data)

    def step(self, state: Any, work: Work) -> StepResult:
        """One `next` of the process, and the distillation of its clients.

        The row has `distill_loss`, the mean KL divergence over all steps in
        nats; None where there were none.
        """
        clients = self.process.clients
        handed = {KEPT: self.process.no_model}
        data = [
            [{**element, **handed} for element in elements]
            for elements in work.data
        ]
        state, returned, metrics = clients.process.next(state, data)
        teachers = self.process.teachers(returned)
        loss = None
        if self.process.num_steps and teachers:
            student = state.global_model_weights
            weights, loss = self._distilled(
                student.trainable, teachers, work.number
            )
            student = tff.learning.models.ModelWeights(
                tuple(weights), student.non_trainable
            )
            state = state._replace(global_model_weights=student)
        return StepResult(
            state,
            {
                "cohort_size": len(work.cohort),
                "bytes_down": len(work.cohort) * clients.bytes_down,
                "bytes_up": len(work.cohort) * clients.bytes_up,
                **federated.row(metrics),
                "distill_loss": loss,
            },
        )

    def weights(self, state: Any) -> Weights:
        """The trainable weights of the global model."""
        return self.process.clients.weights(state)

    def _distilled(self, student, teachers, number):
        logits = self.server.ensemble(teachers, self.images)
        purpose = randomness.Purpose.PUBLIC_BATCHES
        batches = shuffled_batches(
            len(self.images),
            self.process.num_steps,
            self.process.batch_size,
            randomness.generator(self.seed, purpose, number),
        )
        seed = randomness.stateless_seed(self.seed, purpose, number)
        return self.server.distilled(
            student, self.images, logits, batches, seed
        )


def shuffled_batches(
    num_examples: int, num_steps: int, batch_size: int, rng: np.random.Generator
) -> np.ndarray:
    """Batches out of passes over all examples, each in an order of its own.

    Args:
      num_examples: >= 1.
      num_steps: >= 0.
      batch_size: >= 1; no batch is larger than all examples.
      rng: Draws the orders.

    Returns:
      int32, [num_steps, batch_size]: a batch may end one pass and begin the
      next.
    """
    batch_size = min(batch_size, num_examples)
    wanted = num_steps * batch_size
    passes = -(-wanted // num_examples)
    orders = [rng.permutation(num_examples) for _ in range(passes)]
    found = np.concatenate([np.zeros(0, np.int64), *orders])[:wanted]
    return found.astype(np.int32).reshape(num_steps, batch_size)
