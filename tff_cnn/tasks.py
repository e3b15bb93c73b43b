"""A task: data dealt over clients, and a model that fits it."""

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_cnn.core import memory, randomness
from tff_cnn.core.errors import UsageError
from tff_cnn.data import dealing, preprocessing, standards, transforms
from tff_cnn.data.examples import (
    Cached,
    ClientExamples,
    Examples,
    FromStorage,
    Source,
    Stored,
)
from tff_cnn.data.public_examples import PublicExamples
from tff_cnn.models import ALL, objectives, trainable, validators

# Of the training clients, for choosing hyperparameters.
_VALIDATION_FRACTION = 0.2


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learned, from whom, and on what it is judged.

    Attributes:
      clients: Training examples, client by client.
      evaluation: Held-out examples: the source's test split, or those of the
        validation clients.
      objective: That fits labels and model.
      held_out: Of each of `clients` the examples that it is never trained on;
        None where none are.
      unseen: Clients of whom nothing is trained on, numbered from 0 by
        themselves; None where there are none.
      model: With the task's initial weights, to be looked at and copied; nobody
        changes it. (To build a deep one takes seconds.)
      prepare: Stored images -> model input, in the graph.
      public: That the server may learn from; None where it has none.
    """

    clients: ClientExamples
    evaluation: Stored
    model: tf.keras.Model
    prepare: transforms.Preparation
    objective: objectives.Objective = objectives.SOFTMAX
    held_out: ClientExamples | None = None
    unseen: ClientExamples | None = None
    public: PublicExamples | None = None

    @property
    def prepare_public(self) -> transforms.Preparation:
        """As `prepare`, of `public` images."""
        return dataclasses.replace(
            self.prepare, pixel_max=self.public.pixel_max
        )

    @property
    def evaluated(self) -> dict[str, Stored]:
        """What rows tell of -> the examples that it is measured on."""
        found = {"test": self.evaluation}
        if self.held_out is not None:
            found["holdout"] = self.held_out.pooled(range(len(self.held_out)))
        return found

    @property
    def element_spec(self) -> collections.OrderedDict:
        """Specs of the one element in a client's sequence, by field."""
        stored = self.evaluation
        return preprocessing.element_spec(
            stored.image_shape, stored.dtype, stored.labels.shape[1:]
        )

    @property
    def num_parameters(self) -> int:
        """Number of the model's trainable parameters."""
        weights = self.model.trainable_weights
        return sum(math.prod(w.shape) for w in weights)

    def check_memory(
        self, batching: preprocessing.Batching, expected_cohort: float
    ) -> None:
        """Refuses rounds whose data could never be held at once.

        The clients of two rounds are: while one trains, the next is built.

        Args:
          batching: Of the clients' local steps.
          expected_cohort: Clients a round.

        Raises:
          UsageError: With the memory that is needed and what there is.
        """
        stored = self.evaluation
        image_bytes = (
            math.prod(stored.image_shape) * np.dtype(stored.dtype).itemsize
        )
        sizes = map(self.clients.num_examples, range(len(self.clients)))
        mean = sum(batching.num_bytes(n, image_bytes) for n in sizes) / len(
            self.clients
        )
        memory.check_fits(
            round(2 * expected_cohort * mean),
            f"a round of {expected_cohort:g} clients with <client_epochs>="
            f"{batching.epochs} and <batch_size>={batching.batch_size}",
            "use fewer epochs or fewer clients a round",
        )

    def client_data(
        self,
        client: int,
        round_num: int,
        seed: int,
        batching: preprocessing.Batching,
    ) -> list:
        """What `client` hands to a TFF process in a round."""
        local_seed = randomness.stateless_seed(
            seed, randomness.Purpose.LOCAL_TRAINING, round_num, client
        )
        return batching.client_data(self.clients[client], local_seed)


def build_task(
    source: Source,
    partition: Callable[..., Any],
    num_clients: int | None,
    build_model: Callable[..., tf.keras.Model],
    seed: int,
    use_validation: bool = False,
    client_holdout: float = 0.0,
    cache_bytes: int = 0,
    class_weights: Sequence[float] = (),
    balance_classes: bool = False,
    trained: str = ALL,
    standardize: str = standards.NONE,
    to_rgb: bool = False,
    holdout_clients: float = 0.0,
    public: PublicExamples | None = None,
) -> Task:
    """Deals `source` over clients and checks that the model fits it.

    Args:
      source: From `data.SOURCES`.
      partition: Of `data.PARTITIONERS`, with its options: see `data.dealing`.
      num_clients: Clients dealt to, >= 1; with `use_validation` a fifth of
        them are then set aside. None is as many as the data has.
      build_model: Of `models.MODELS`, with its options.
      seed: Root seed of the run.
      use_validation: Evaluate on the set-aside clients' examples in the place
        of the test split: for choosing hyperparameters. Of an only client a
        fifth of its examples is set aside.
      client_holdout: In [0, 1): the part of each client's examples that is
        held out of its training.
      class_weights: Of the classes, in the loss; () weighs all alike.
      balance_classes: Weighs them by how few training examples they have:
        see `objectives.balanced_weights`.
      cache_bytes: Of images that stay in memory where a source reads them from
        storage; half of it for those that are evaluated on.
      trained: Which layers of the model are: see `trainable.freeze`.
      standardize: See `transforms.build`; of the clients that are trained.
      to_rgb: Whether grey images get three channels.
      holdout_clients: In [0, 1): the part of the clients that is set aside
        while the test split stays what is evaluated on; none of them with
        `use_validation`, which sets some aside already.
      public: See `Task`; not in `source` (`public_examples.split`).

    Raises:
      UsageError: What does not fit.
    """
    purpose = randomness.Purpose
    clients = dealing.deal(
        dataclasses.replace(source, train=_cached(source.train, cache_bytes)),
        partition,
        num_clients,
        randomness.seed_sequence(seed, purpose.PARTITION),
    )
    evaluation = _evaluated_on(source.test, cache_bytes // 2)
    unseen = None
    if use_validation and len(clients) == 1:
        clients, evaluation = _split_off_examples(clients, seed)
    elif use_validation:
        rng = randomness.generator(seed, purpose.VALIDATION_SPLIT)
        clients, unseen = _split_off_clients(clients, _VALIDATION_FRACTION, rng)
        evaluation = unseen.pooled(range(len(unseen)))
    elif holdout_clients:
        rng = randomness.generator(seed, purpose.HOLDOUT_CLIENTS)
        clients, unseen = _split_off_clients(clients, holdout_clients, rng)
    if use_validation:
        evaluation = _evaluated_on(evaluation, cache_bytes // 2)
    held_out = None
    if client_holdout:
        clients, held_out = _hold_out(clients, client_holdout, seed)
    prepare = transforms.build(clients, source.pixel_max, standardize, to_rgb)
    image_shape = prepare.image_shape(source.image_shape)
    model = build_model(
        image_shape,
        source.num_classes,
        randomness.integer_seed(seed, purpose.INITIAL_WEIGHTS),
    )
    trainable.freeze(model, trained)
    _check_model(model, image_shape, source)
    if balance_classes:
        labels = clients.pooled(range(len(clients))).labels
        class_weights = objectives.balanced_weights(labels, source.num_classes)
    objective = objectives.of(
        source.train.labels.shape[1:],
        source.num_classes,
        model.output_shape[-1],
        class_weights,
    )
    return Task(
        clients,
        evaluation,
        model,
        prepare,
        objective,
        held_out,
        unseen,
        public,
    )


def _check_model(
    model: tf.keras.Model, image_shape: tuple[int, int, int], source: Source
) -> None:
    _check_colour(model, image_shape)
    has_one_label = source.train.labels.ndim == 1
    validators.check_dimensions(
        model,
        image_shape,
        source.num_classes,
        is_binary=has_one_label and source.num_classes == 2,
    )


def _check_colour(
    model: tf.keras.Model, image_shape: tuple[int, int, int]
) -> None:
    """Tells who gives grey images to a model of colour ones what to do."""
    *size, channels = image_shape
    if channels == 1 and tuple(model.input_shape) == (None, *size, 3):
        raise UsageError(
            f"model {model.name!r} takes images of three channels, but these "
            "are grey: use <to_rgb>."
        )


def _cached(stored: Stored, max_bytes: int) -> Stored:
    return Cached(stored, max_bytes) if _is_slow(stored) else stored


def _is_slow(stored: Stored) -> bool:
    return isinstance(stored, FromStorage)


def _evaluated_on(stored: Stored, max_bytes: int) -> Stored:
    """Cached if all of it fits: what is read in order, again and again, would
    else have just left a cache whenever it is wanted.
    """
    if isinstance(stored, Examples):
        return stored
    size = len(stored) * math.prod(stored.image_shape)
    size *= np.dtype(stored.dtype).itemsize
    return Cached(stored, max_bytes) if size <= max_bytes else stored


def _hold_out(
    clients: ClientExamples, fraction: float, seed: int
) -> tuple[ClientExamples, ClientExamples]:
    """Training and held-out examples of each client.

    Of n examples round(fraction n) are held out, but never the last one, and
    at least one of two or more.
    """
    held_out = []
    for client in range(len(clients)):
        rng = randomness.generator(
            seed, randomness.Purpose.CLIENT_HOLDOUT, client
        )
        size = clients.num_examples(client)
        count = min(max(1, round(fraction * size)), max(0, size - 1))
        held_out.append(np.sort(rng.permutation(size)[:count]))
    return clients.split(held_out)


def _split_off_examples(
    clients: ClientExamples, seed: int
) -> tuple[ClientExamples, Stored]:
    """An only client without what is for validation, and that."""
    rng = randomness.generator(seed, randomness.Purpose.VALIDATION_SPLIT)
    size = clients.num_examples(0)
    order = rng.permutation(size)
    cut = max(1, round(_VALIDATION_FRACTION * size))
    kept, held_out = clients.split([order[:cut]])
    return kept, held_out.pooled([0])


def _split_off_clients(
    clients: ClientExamples, fraction: float, rng: np.random.Generator
) -> tuple[ClientExamples, ClientExamples]:
    """(clients that are trained, clients that are not).

    Of n clients round(fraction n) are set aside, one at least and n - 1 at
    most.

    Raises:
      UsageError: There is only one.
    """
    count = len(clients)
    if count == 1:
        raise UsageError(
            "<holdout_clients> sets clients aside, but there is only one: deal "
            "to more, or hold out examples of it with <client_holdout>."
        )
    order = rng.permutation(count)
    num_aside = min(max(1, round(fraction * count)), count - 1)
    return (
        clients.subset(np.sort(order[num_aside:])),
        clients.subset(np.sort(order[:num_aside])),
    )
