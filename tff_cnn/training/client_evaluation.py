"""A run's models on each client by itself: while it trains, and at its end.

Of a private run it is only done where it is asked for: what it shows of clients
is computed from their raw data, and no epsilon covers it.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_cnn import identity
from tff_cnn.config import RunConfig
from tff_cnn.core import randomness
from tff_cnn.core import weights as weight_arithmetic
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import to_json, write_atomically
from tff_cnn.core.weights import Weights
from tff_cnn.data.examples import ClientExamples
from tff_cnn.data.preprocessing import Batching
from tff_cnn.evaluation.federated import (
    ClientMetrics,
    FederatedEvaluation,
    Perturbation,
)
from tff_cnn.evaluation.personalized import evaluate_fine_tuned
from tff_cnn.models import adversaries
from tff_cnn.training import assembly
from tff_cnn.training.assembly import Run
from tff_cnn.training.checkpoints import Checkpoints
from tff_cnn.training.client_table import ClientTable
from tff_cnn.training.diagnostics import NOT_PRIVATE
from tff_cnn.training.engine import Engine
from tff_cnn.training.loop import Round
from tff_cnn.training.run_folder import CLIENT_SETS, RunFolder

# Of models that clients are fine-tuning at a time.
_MODEL_BYTES = 2**28


class ClientEvaluation:
    """Evaluates an engine's states on each client of a run."""

    def __init__(
        self,
        run: Run,
        engine: Engine,
        sets: Sequence[str] = (),
        epochs: int = 0,
        steps: int = 0,
        perturb: Perturbation | None = None,
    ):
        """Args:
        run: Whose clients they are.
        engine: Whose states are evaluated.
        sets: Of `CLIENT_SETS`; () are those of the examples that nothing
          is trained on, or, where there are none, "training".
        epochs: Of local training, for what is "tuned_"; 0 is none.
        steps: The same in local steps; not beside `epochs`.
        perturb: Of an attack, for what is "robust_"; None is none.

        Raises:
          UsageError: The run has no such set, or nothing to judge local
            training by.
        """
        self._run = run
        self._engine = engine
        self._sets = _sets_of(run, sets)
        self._epochs, self._steps = epochs, steps
        if (epochs or steps) and "holdout" not in self._sets:
            raise UsageError(
                "local training is judged by examples that clients hold out, "
                "and none are evaluated here: train with <client_holdout> > 0, "
                "and evaluate them."
            )
        if (epochs or steps) and hasattr(engine, "personal_model"):
            raise UsageError(
                "local training is of clients that all have the run's <model>, "
                "and here they have models of their own kinds: leave it out."
            )
        self._evaluate = _evaluation(run)
        self._attacked = _evaluation(run, perturb) if perturb else None
        self._last: ClientTable | None = None

    def __call__(self, number: int, state: Any) -> ClientTable:
        """What each client measures of the models after a round."""
        if self._last is None or self._last.round != number:
            self._last = ClientTable(
                number,
                {
                    name: self._measured(name, clients, state)
                    for name, clients in self._sets.items()
                },
                is_private=self._run.ledger is not None,
            )
        return self._last

    def final(self, number: int, state: Any) -> ClientTable:
        """The same, also under attack and after local training.

        Local training runs where the rounds do, so it has to wait for their
        end; and an attack takes as long as many evaluations.
        """
        table = self(number, state)
        if self._attacked is not None:
            weights, seed = self._engine.weights(state), self._run.config.seed
            robust = {
                name: self._attacked(clients, weights, seed=seed)
                for name, clients in self._sets.items()
            }
            sets = {
                name: {**found, "robust_": robust[name]}
                for name, found in table.sets.items()
            }
            table = ClientTable(number, sets, table.is_private)
        if not (self._epochs or self._steps):
            return table
        fine_tune = assembly.build_fine_tuning(self._run)
        weights = self._personal(state) or self._engine.weights(state)

        def train(clients, starts):
            data = [self._training_data(client) for client in clients]
            return fine_tune(starts, data)

        size = weight_arithmetic.num_bytes(self._engine.weights(state))
        tuned = evaluate_fine_tuned(
            self._evaluate,
            self._sets["holdout"],
            weights,
            train,
            at_once=max(1, min(64, _MODEL_BYTES // size)),
        )
        sets = {**table.sets}
        sets["holdout"] = {**sets["holdout"], "tuned_": tuned}
        return ClientTable(
            number, sets, table.is_private, self._training_in_words()
        )

    def _measured(
        self, name: str, clients: ClientExamples, state: Any
    ) -> dict[str, ClientMetrics]:
        """Of each kind of model, as in `client_table.MODELS`."""
        weights = self._engine.weights(state)
        found = {"": self._evaluate(clients, weights)}
        personal = self._personal(state)
        if personal is not None and name != "unseen":
            found["personal_"] = self._of_personal(clients, personal)
        return found

    def _of_personal(
        self, clients: ClientExamples, weights: Callable[[int], Weights]
    ) -> ClientMetrics:
        """Also where clients have models of different kinds."""
        model_of = getattr(self._engine, "personal_model", None)
        if model_of is None:
            return self._evaluate(clients, weights)
        kinds: dict[int, list[int]] = {}
        for client in range(len(clients)):
            kinds.setdefault(id(model_of(client)), []).append(client)
        metrics = [
            _evaluation(self._run, model=model_of(group[0]))(
                clients, weights, group
            )
            for group in kinds.values()
        ]
        order = np.argsort(np.concatenate(list(kinds.values())))
        return ClientMetrics(
            *(np.concatenate(of)[order] for of in zip(*metrics, strict=True))
        )

    def _personal(self, state: Any) -> Callable[[int], Weights] | None:
        """Client -> weights of its own; None where clients have none."""
        engine = self._engine
        if not hasattr(engine, "personal_weights"):
            return None
        if not getattr(engine, "has_personal_models", True):
            return None
        return lambda client: engine.personal_weights(state, client)

    def _training_data(self, client: int) -> list:
        """The client's local steps, as of a round."""
        config = self._run.config
        clients = self._run.task.clients
        epochs = self._epochs
        if self._steps:
            an_epoch = -(-clients.num_examples(client) // config.batch_size)
            epochs = -(-self._steps // max(1, an_epoch))
        seed = randomness.stateless_seed(
            config.seed, randomness.Purpose.FINE_TUNING, 0, client
        )
        batching = Batching(epochs, config.batch_size)
        (element,) = batching.client_data(clients[client], seed)
        if self._steps:
            element["batches"] = element["batches"][: self._steps]
        return [element]

    def _training_in_words(self) -> str:
        if self._steps:
            return f"{self._steps} local step{'s' * (self._steps > 1)}"
        return f"{self._epochs} local epoch{'s' * (self._epochs > 1)}"


def of_run(run: Run, engine: Engine) -> ClientEvaluation | None:
    """What the configuration asks for; None where it asks for nothing."""
    config = run.config
    if config.evaluate_clients != "yes":
        return None
    if run.ledger is not None:
        print(
            "note: clients are evaluated one by one (evaluate_clients): "
            f"{NOT_PRIVATE}, epsilon does not cover it.",
            file=sys.stderr,
        )
    return ClientEvaluation(
        run,
        engine,
        epochs=config.personalize_epochs,
        steps=config.personalize_steps,
        perturb=_attack(run),
    )


def _attack(run: Run) -> Perturbation | None:
    """That of a run which is trained to stand attacks; else None."""
    found = getattr(run.config.algorithm, "robust_evaluation", None)
    if found is None:
        return None
    perturbation = adversaries.pgd(*found)
    losses = functools.partial(
        run.task.objective.example_losses, weighted=False
    )

    def perturb(logits_of, images, labels, seed):
        gradient = adversaries.loss_gradient(logits_of, losses)
        return adversaries.perturbed(
            gradient, images, labels, seed, perturbation
        )

    return perturb


def evaluate_finished(
    config: RunConfig,
    folder: RunFolder,
    sets: Sequence[str] = (),
    epochs: int = 0,
    steps: int = 0,
) -> ClientTable:
    """Evaluates the last state of a run, and writes what it finds.

    A runtime is open (`tff_cnn.runtime.use`).

    Args:
      config: Of the run, as it was resolved when that began.
      folder: Held by this process.
      sets: As of `ClientEvaluation`.
      epochs: As of `ClientEvaluation`.
      steps: As of `ClientEvaluation`.

    Raises:
      UsageError: The state is not there, or the run has no such sets.
    """
    last_round = folder.read_summary()["rounds"]
    # Its secret is not needed, and may be deleted: nothing is drawn from it.
    run = assembly.build(config)
    engine = run.engine()
    evaluate = ClientEvaluation(
        run, engine, sets, epochs, steps, perturb=_attack(run)
    )
    checkpoints = Checkpoints(
        folder.checkpoints,
        identity.fingerprint(run.config),
        last_round,
        other_fingerprints=[identity.fingerprint_of_format_1(run.config)],
    )
    done, state, _ = checkpoints.load_latest(engine.initialize())
    if done != last_round or not folder.checkpoint_rounds():
        raise UsageError(
            f"{folder.checkpoints} has no checkpoint of the run's last round, "
            f"{last_round}: restore it, or train again in another <run_dir>."
        )
    table = evaluate.final(done, state)
    table.write(folder.clients, folder.clients_picture)
    content = to_json(table.summary, indent=2) + "\n"
    write_atomically(folder.evaluation, content.encode())
    return table


class ClientEvaluationHook:
    """Adds `client_*` to rows, and writes what each client has measured.

    What it has measured after the last round is written at the end of the run.

    Rows of rounds that are not evaluated have none of them. It comes after the
    hooks that may stop a run: its last round is always evaluated.
    """

    def __init__(
        self,
        evaluate: ClientEvaluation,
        folder: RunFolder,
        last_round: int,
        every: int,
    ):
        """Args:
        evaluate: (round, state) -> what each client measures.
        folder: Of the run.
        last_round: Always evaluated.
        every: Rounds between two evaluations; 0 is only the last.
        """
        self._evaluate = evaluate
        self._folder = folder
        self._last_round = last_round
        self._every = every

    def after_round(self, finished: Round) -> None:
        is_due = self._every and finished.number % self._every == 0
        is_last = finished.stop or finished.number == self._last_round
        if not is_due and not is_last:
            return
        table = self._evaluate(finished.number, finished.state)
        if not is_last:  # What is written at the end may say more.
            table.write(self._folder.clients, self._folder.clients_picture)
        finished.row.update(table.row)
        finished.distributions.update(table.distributions)


def _sets_of(run: Run, wanted: Sequence[str]) -> dict[str, ClientExamples]:
    """Name -> clients with their examples; of canaries there are none.

    Raises:
      UsageError: A set is wanted that is not there.
    """
    task = run.task
    there = {
        "holdout": task.held_out,
        "unseen": task.unseen,
        "training": task.clients.subset(range(run.sampler.num_clients)),
    }
    remedies = {
        "holdout": "train with <client_holdout> > 0",
        "unseen": "train with <holdout_clients> > 0",
    }
    for name in wanted:
        if there[name] is None:
            raise UsageError(
                f"the run has no set {name!r} of clients: {remedies[name]}, "
                "or evaluate another."
            )
    is_held_out = task.held_out is not None or task.unseen is not None
    return {
        name: there[name]
        for name in CLIENT_SETS
        if there[name] is not None
        and (
            name in wanted if wanted else name != "training" or not is_held_out
        )
    }


def _evaluation(
    run: Run,
    perturb: Perturbation | None = None,
    model: tf.keras.Model | None = None,
) -> FederatedEvaluation:
    """Of a model; None is the task's."""
    task = run.task
    return FederatedEvaluation(
        model or task.model,
        task.evaluation,
        task.prepare,
        task.objective,
        perturb=perturb,
    )
