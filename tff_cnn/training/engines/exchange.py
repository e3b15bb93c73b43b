"""Rounds in which parties of different models exchange predictions."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tff_cnn.algorithms import fedmd
from tff_cnn.algorithms.fedmd import Party
from tff_cnn.core import randomness
from tff_cnn.core.client_states import ClientStates
from tff_cnn.core.errors import UsageError
from tff_cnn.core.weights import Weights
from tff_cnn.data.examples import Examples
from tff_cnn.data.preprocessing import Batching
from tff_cnn.data.public_examples import PublicExamples
from tff_cnn.models import MODELS, functional
from tff_cnn.training.engine import Row, StepResult, Work

# Public images at a time of which a party computes its scores.
_CHUNK = 250
# By which the student is known among students.
_STUDENT = 0


class State(NamedTuple):
    """What a run goes on from.

    Attributes:
      student: The server's model, once it was trained.
      clients: Of each kind of model, that of each client which has taken part;
        never exported.
    """

    student: ClientStates
    clients: tuple[ClientStates, ...]


class Heard(NamedTuple):
    """What a group of parties brings into a round.

    Attributes:
      party: Of their kind.
      ids: Of those that are not excluded.
      elements: That each hands over.
      models: Theirs, float32, [size].
      scores: Theirs, float32, [parties, examples, classes].
    """

    party: Party
    ids: list[int]
    elements: list[Any]
    models: list[np.ndarray]
    scores: np.ndarray


def build(run: Any, scratch: pathlib.Path | None) -> "Exchange":
    """The engine of a `training.assembly.Run`.

    Raises:
      UsageError: There are fewer public examples than a round is to exchange.
    """
    student, public = run.process, run.task.public
    wanted = student.options.consensus_examples
    if wanted is not None and wanted > len(public):
        raise UsageError(
            f"<algorithm.consensus_examples>={wanted} is more than the "
            f"{len(public)} examples that are public: use fewer, or more of "
            "<algorithm.public_examples>."
        )
    kinds = _kinds(run)
    parties = [party for party, _ in kinds]
    limit = run.config.client_states_mb * 2**20 // len(parties)
    return Exchange(
        student,
        tuple(parties),
        _prepared(public, run.task.prepare_public),
        run.config.seed,
        run.sample_cohort,
        run.client_data,
        State(
            ClientStates(student.initial_model),
            tuple(
                ClientStates(party.initial_model, {}, scratch, limit)
                for party in parties
            ),
        ),
        tuple(model for _, model in kinds),
    )


def _kinds(run: Any) -> list[tuple[Party, tf.keras.Model]]:
    """What clients are dealt: the server's own kind is built already."""
    config = run.config
    own = MODELS.entry_of(config.model).name
    found = {own: (run.process, run.task.model)}
    names = config.algorithm.models or (own,)
    for name in names:
        if name not in found:
            model = _model(run, name)
            found[name] = _party(run, model), model
    return [found[name] for name in names]


def _model(run: Any, name: str) -> tf.keras.Model:
    """A clients' model, that takes and gives what the server's does."""
    model = run.task.model
    return MODELS.get(name)(
        tuple(model.input_shape[1:]),
        model.output_shape[-1],
        randomness.integer_seed(
            run.config.seed, randomness.Purpose.INITIAL_WEIGHTS
        ),
    )


def _party(run: Any, model: tf.keras.Model) -> Party:
    made = functional.from_keras(
        model, run.config.compute_dtype, run.task.objective
    )
    return fedmd.of_model(
        dataclasses.replace(run.process.parts, model=made), run.process.options
    )


def _prepared(
    public: PublicExamples, prepare: Callable[[tf.Tensor], tf.Tensor]
) -> PublicExamples:
    images = [
        np.asarray(prepare(public.images[start : start + _CHUNK]))
        for start in range(0, len(public), _CHUNK)
    ]
    return PublicExamples(np.concatenate(images), public.labels, 1.0)


@dataclasses.dataclass(frozen=True)
class Exchange:
    """An `Engine` over `Party`s, and a student that is one of them.

    Attributes:
      student: The server's party.
      parties: One for each kind of clients' model; client k is of the (k mod
        their number)-th.
      public: Prepared: float32 images as models take them.
      seed: Of the run.
      sample_cohort: Round -> client ids, each once.
      client_data: (client, round) -> what that client has of its own.
      first: Before anybody took part.
      models: Of the parties, to be looked at.
    """

    student: Party
    parties: tuple[Party, ...]
    public: PublicExamples
    seed: int
    sample_cohort: Callable[[int], Sequence[int]]
    client_data: Callable[[int, int], Any]
    first: State
    models: tuple[tf.keras.Model, ...]

    def initialize(self) -> State:
        """Nobody has taken part."""
        return self.first

    def plan(self, number: int) -> Work:
        """The cohort, and what each of its clients has of its own."""
        cohort = self.sample_cohort(number)
        data = [self.client_data(client, number) for client in cohort]
        return Work(number, cohort, data)

    def step(self, state: State, work: Work) -> StepResult:
        """Steps 0 to 5 of `algorithms.fedmd`, kind by kind.

        A round that nobody's scores are heard in leaves the student as it was.
        Traffic is the scores and the consensus of them, which is 4 bytes a
        class and example each; public examples are everywhere already.
        """
        subset = self._subset(work.number)
        heard = [
            self._communicate(party, states, *self._group(work, kind), subset)
            for kind, (party, states) in enumerate(
                zip(self.parties, state.clients, strict=True)
            )
        ]
        num_heard = sum(len(group.ids) for group in heard)
        row = {
            "cohort_size": len(work.cohort),
            "clients_excluded": len(work.cohort) - num_heard,
            "train_loss": None,
            "train_accuracy": None,
            "examples": 0,
            "bytes_down": 0,
            "bytes_up": 0,
        }
        if not num_heard:
            return StepResult(state, row)
        scores = np.concatenate([group.scores for group in heard])
        # In float64, so that the order of clients changes nothing.
        consensus = np.mean(scores, axis=0, dtype=np.float64)
        consensus = consensus.astype(np.float32)
        clients, measured = [], []
        for group, states in zip(heard, state.clients, strict=True):
            models, metrics, excluded = self._digest(group, subset, consensus)
            clients.append(states.after(group.ids, models))
            measured += metrics
            row["clients_excluded"] += sum(map(int, excluded))
        row |= _means(measured)
        row["examples"] = self._num_examples(state, heard, len(subset))
        row["bytes_up"] = scores.nbytes
        row["bytes_down"] = num_heard * consensus.nbytes
        student = self._taught(state.student, work.number, subset, consensus)
        return StepResult(State(student, tuple(clients)), row)

    def weights(self, state: State) -> Weights:
        """The trainable weights of the server's student."""
        return self.student.weights(state.student.of([_STUDENT])[0])

    def personal_weights(self, state: State, client: int) -> Weights:
        """The trainable weights of a client's own model."""
        kind = client % len(self.parties)
        (model,) = state.clients[kind].of([client])
        return self.parties[kind].weights(model)

    def personal_model(self, client: int) -> tf.keras.Model:
        """Of the kind that a client's is, with its initial weights."""
        return self.models[client % len(self.models)]

    def _subset(self, number: int) -> np.ndarray:
        """d_j: which public examples a round is about."""
        rng = randomness.generator(
            self.seed, randomness.Purpose.PUBLIC_BATCHES, number
        )
        order = rng.permutation(len(self.public))
        return np.sort(order[: self.student.options.consensus_examples])

    def _group(self, work: Work, kind: int) -> tuple[list[int], list[Any]]:
        """Ids and elements of the clients of one kind of model."""
        chosen = [
            (client, elements[0])
            for client, elements in zip(work.cohort, work.data, strict=True)
            if client % len(self.parties) == kind
        ]
        return [c for c, _ in chosen], [element for _, element in chosen]

    def _communicate(self, party, states, ids, elements, subset) -> Heard:
        """Steps 0 and 1."""
        models = dict(zip(ids, states.of(ids), strict=True))
        is_new = [client not in states.rows for client in ids]
        new = [
            (client, element)
            for client, element, first in zip(
                ids, elements, is_new, strict=True
            )
            if first
        ]
        excluded = set()
        if new:
            epochs = party.options.transfer_epochs
            handed = [
                self._handed(element, models[client], epochs, len(self.public))
                for client, element in new
            ]
            found = party.transfer(
                self.public.images, self.public.labels, handed
            )
            for (client, _), (model, lost) in zip(new, found, strict=True):
                models[client] = np.asarray(model)
                excluded |= {client} if lost else set()
        scores = self._scores(party, [models[c] for c in ids], subset)
        heard = [
            n
            for n, client in enumerate(ids)
            if client not in excluded and np.isfinite(scores[n]).all()
        ]
        return Heard(
            party,
            [ids[n] for n in heard],
            [elements[n] for n in heard],
            [models[ids[n]] for n in heard],
            scores[heard],
        )

    def _scores(self, party, models, subset) -> np.ndarray:
        """float32, [parties, examples, classes]."""
        num_classes = self.student.parts.model.initial_weights[0][-1].shape[-1]
        if not models:
            return np.zeros((0, len(subset), num_classes), np.float32)
        images = self.public.images[subset]
        chunk = min(_CHUNK, len(images))
        chunks = -(-len(images) // chunk)
        rows = np.arange(chunk * chunks) % len(images)
        images = images[rows].reshape(chunks, chunk, *images.shape[1:])
        found = np.stack(party.scores(images, models))
        return found.reshape(len(models), chunk * chunks, -1)[:, : len(subset)]

    def _digest(self, group: Heard, subset, consensus):
        """Steps 4 and 5: (models, metrics, excluded), of each client."""
        party = group.party
        if not group.ids:
            return [], [], []
        handed = [
            self._handed(
                element, model, party.options.digest_epochs, len(subset)
            )
            for element, model in zip(group.elements, group.models, strict=True)
        ]
        found = party.digest(self.public.images[subset], consensus, handed)
        models, metrics, excluded = zip(*found, strict=True)
        return list(map(np.asarray, models)), list(metrics), list(excluded)

    def _handed(self, element, model, epochs, num_public) -> list[Any]:
        """What a party hands over for a phase of its training."""
        batching = Batching(epochs, self.student.options.public_batch_size)
        return [
            {
                **element,
                fedmd.MODEL: model,
                fedmd.PUBLIC_BATCHES: batching.batches(
                    num_public, element["seed"]
                ),
            }
        ]

    def _taught(self, student, number, subset, consensus) -> ClientStates:
        """The student after a round; it is a party without examples."""
        purpose = randomness.Purpose.PUBLIC_BATCHES
        seed = randomness.stateless_seed(self.seed, purpose, number)
        spec = self.student.parts.element_spec
        nothing = Examples(
            np.zeros((0, *spec["images"].shape[1:]), np.uint8),
            np.zeros((0, *spec["labels"].shape[1:]), np.int32),
        )
        (element,) = Batching(1, 1).client_data(nothing, seed)
        element["images"] = element["images"].astype(
            spec["images"].dtype.as_numpy_dtype
        )
        group = self._communicate(
            self.student, student, [_STUDENT], [element], subset
        )
        models, _, _ = self._digest(group, subset, consensus)
        return student.after(group.ids, models)

    def _num_examples(self, state, heard, num_exchanged) -> int:
        """That clients have trained on, over all phases and epochs."""
        options, total = self.student.options, 0
        for group, states in zip(heard, state.clients, strict=True):
            for client, element in zip(group.ids, group.elements, strict=True):
                private = int(np.count_nonzero(element["batches"] >= 0))
                total += private + options.digest_epochs * num_exchanged
                if client not in states.rows:
                    public = options.transfer_epochs * len(self.public)
                    total += private + public
        return total


def _means(metrics: Sequence[Any]) -> Row:
    """Loss and accuracy in the revisits, over all examples."""
    found: Row = {}
    for name in ("loss", "accuracy"):
        total, count = np.sum([m[name] for m in metrics], axis=0)
        found[f"train_{name}"] = float(total / count) if count else None
    return found
