"""FedMD: clients of different models exchange predictions on public examples.

Li & Wang 2019, "FedMD: Heterogenous Federated Learning via Model
Distillation", Algorithm 1. Before client k first takes part:

    0. transfer: it trains f_k on the public examples D_0 and their labels,
       then on its own D_k

In round j, with cohort S_j and a subset d_j of D_0, drawn anew:

    1. communicate: client k of S_j sends its class scores f_k(d_j)
    2. aggregate: the server takes their mean f~(d_j)
    3. distribute: it sends f~(d_j) to the clients of S_j
    4. digest: client k trains f_k to approach f~ on d_j
    5. revisit: and then for a few epochs on D_k

    symbol  name
    f_k     of client_models the (k mod their number)-th
    |d_j|   consensus_examples
    D_0     public_dataset, or public_examples of the training data

Class scores are logits, and digesting minimizes the mean absolute error
between a client's and the consensus, as the authors' published code does.

Beyond the paper: clients that take no part in a round neither send nor digest.
Models of one kind begin alike. Each phase of training is by the clients'
optimizer, begun afresh; the private part of step 0 has as many epochs as a
revisit. The paper has no global model. What is evaluated and exported here is
of a **student** at the server, of the model that a run is configured with: a
party without private examples, whose scores nobody hears.
"""

import collections
import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.algorithms import local_training
from tff_cnn.algorithms.local_rule import LocalRule, Sent
from tff_cnn.algorithms.local_training import Parts
from tff_cnn.core.weights import Weights
from tff_cnn.data.preprocessing import PADDING_STEP

# Fields that a party's element has beside those of `data.preprocessing`:
# float32, [size], its model; int32, [steps, batch], which public examples each
# step takes.
MODEL = "model"
PUBLIC_BATCHES = "public_batches"
# What is added to a party's seed of a round.
_TRANSFER, _DIGEST = 1, 2


@dataclasses.dataclass(frozen=True)
class OwnModel(LocalRule):
    """Training goes on with the model that a client has, and stays with it."""

    def start(self, sent, kept):
        """f_k."""
        return kept

    def result(self, trained):
        """(how far it moved, for nobody to see; the new f_k)."""
        moved = tf.nest.map_structure(
            tf.subtract, trained.kept, trained.weights
        )
        return moved, trained.weights


@dataclasses.dataclass(frozen=True)
class Options:
    """`algorithms.FedMd`, but for its data and models."""

    consensus_examples: int | None
    transfer_epochs: int
    digest_epochs: int
    public_batch_size: int


@dataclasses.dataclass(frozen=True)
class Party:
    """What is done by parties of one kind of model.

    Three TFF computations; D is a structure of what each party hands over, a
    sequence of one element. Public images are prepared, float32.

    Attributes:
      parts: Of the algorithm, with this model.
      options: Of the algorithm.
      transfer: (images, labels, D) -> (model, excluded) of each party.
      scores: (images [chunks, chunk, ...], models) -> logits of each party,
        float32, [chunks, chunk, classes].
      digest: (images, consensus, D) -> (model, metrics, excluded) of each.
    """

    parts: Parts
    options: Options
    transfer: Any
    scores: Any
    digest: Any

    @property
    def initial_model(self) -> np.ndarray:
        """float32, [size]."""
        return packed(self.parts.model.initial_weights[0])

    def weights(self, model: np.ndarray) -> Weights:
        """The trainable weights of a model as parties hand it over."""
        like = self.parts.model.initial_weights[0]
        return [np.asarray(w) for w in _unpacked(np.asarray(model), like)]


def packed(weights: Weights) -> np.ndarray:
    """All numbers, one after the other: float32, [size]."""
    return np.concatenate([np.ravel(w) for w in weights]).astype(np.float32)


def mean_absolute_error(scores: tf.Tensor, consensus: tf.Tensor) -> tf.Tensor:
    """Of each example over its classes: [batch], from [batch, classes]."""
    return tf.reduce_mean(tf.abs(scores - consensus), axis=-1)


def build_fedmd(
    parts: Parts, client_models: str | None = None, **options: Any
) -> Party:
    """What parties of the model in `parts` do; of others see `of_model`.

    Args:
      parts: As of `fedavg.build_fedavg`; aggregator and server optimizer are
        for nothing.
      client_models: For the engine.
      **options: Those of `Options`, and `algorithms.PublicData`'s.
    """
    del client_models
    names = [field.name for field in dataclasses.fields(Options)]
    return of_model(parts, Options(**{name: options[name] for name in names}))


def of_model(parts: Parts, options: Options) -> Party:
    """What parties of one kind of model do."""
    spec = collections.OrderedDict(parts.element_spec)
    weights, _ = parts.model.initial_weights
    model_spec = tf.TensorSpec([packed(weights).size], tf.float32)
    spec[MODEL] = model_spec
    spec[PUBLIC_BATCHES] = tf.TensorSpec([None, None], tf.int32)
    data_type = tff.SequenceType(tff.types.tensorflow_to_type(spec))
    image_shape = list(parts.model.input_spec[0].shape[1:])
    images = tff.TensorType(np.float32, [None, *image_shape])
    labels = tff.TensorType(
        np.int32, [None, *parts.element_spec["labels"].shape[1:]]
    )
    consensus = tff.TensorType(np.float32, [None, None])
    chunks = tff.TensorType(np.float32, [None, None, *image_shape])
    transfer = tff.tensorflow.computation(
        _transfer(parts), [images, labels, data_type]
    )
    scores = tff.tensorflow.computation(
        _scores(parts), [chunks, tff.types.tensorflow_to_type(model_spec)]
    )
    digest = tff.tensorflow.computation(
        _digest_and_revisit(parts), [images, consensus, data_type]
    )
    return Party(parts, options, *map(_at_clients, (transfer, scores, digest)))


def _at_clients(of_client: Any) -> Any:
    """A computation whose last argument is the clients', for each of them."""
    *server, client = of_client.type_signature.parameter
    placed = [tff.FederatedType(type_, tff.SERVER) for type_ in server]
    placed.append(tff.FederatedType(client, tff.CLIENTS))

    @tff.federated_computation(tff.StructType(placed))
    def of_all(arguments):
        *shared, data = arguments
        return tff.federated_map(
            of_client, (*map(tff.federated_broadcast, shared), data)
        )

    return of_all


def _transfer(parts):
    """Step 0: (public images, labels, data) -> (model, excluded)."""
    prepared = dataclasses.replace(parts, preprocess=tf.identity)
    train_public = local_training.build_client_update(prepared, OwnModel())
    train = local_training.build_client_update(parts, OwnModel())

    def transfer(images, labels, data):
        element = data.get_single_element()
        before = _model_of(element, parts)
        public = {
            "images": images,
            "labels": labels,
            "batches": element[PUBLIC_BATCHES],
            "seed": element["seed"] + _phase(_TRANSFER),
        }
        first = train_public(Sent(()), before, public)
        second = train(Sent(()), first.kept, element)
        excluded = tf.maximum(first.is_excluded, second.is_excluded)
        return _pack(_unless(excluded, second.kept, before)), excluded

    return transfer


def _scores(parts):
    """Step 1: (images in chunks, model) -> logits in chunks."""

    def scores(chunks, model):
        weights = _unpacked(model, parts.model.initial_weights[0])

        def predict(images):
            return parts.model.predict_on_batch(
                (weights, ()), images, training=False
            )

        return tf.map_fn(predict, chunks, fn_output_signature=tf.float32)

    return scores


def _digest_and_revisit(parts):
    """Steps 4, 5: (images, consensus, data) -> (model, metrics, excluded)."""
    train = local_training.build_client_update(parts, OwnModel())

    def digest_and_revisit(images, consensus, data):
        element = data.get_single_element()
        before = _model_of(element, parts)
        digested = _digested(parts, before, images, consensus, element)
        is_finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(w)) for w in digested]
        )
        lost = 1 - tf.cast(is_finite, tf.int32)
        output = train(Sent(()), _unless(lost, digested, before), element)
        excluded = tf.maximum(lost, output.is_excluded)
        model = _pack(_unless(excluded, output.kept, before))
        return model, output.metrics, excluded

    return digest_and_revisit


def _digested(parts, weights, images, consensus, element):
    """Step 4."""
    batches = element[PUBLIC_BATCHES]
    is_step = tf.not_equal(batches[:, 0], PADDING_STEP)
    num_steps = tf.math.count_nonzero(is_step, dtype=tf.int32)
    seeds = local_training.step_seeds(
        element["seed"] + _phase(_DIGEST), tf.shape(batches)[0]
    )

    def take_step(number, weights, state):
        batch = tf.gather(batches, number)
        rows = tf.maximum(batch, 0)
        is_real = tf.cast(batch >= 0, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            scores = parts.model.forward(
                weights, tf.gather(images, rows), tf.gather(seeds, number)
            )
            errors = mean_absolute_error(scores, tf.gather(consensus, rows))
            loss = tf.reduce_sum(errors * is_real) / tf.reduce_sum(is_real)
        state, weights = parts.client_optimizer.next(
            state, weights, tape.gradient(loss, weights)
        )
        return number + 1, tuple(weights), state

    specs = tf.nest.map_structure(
        lambda w: tf.TensorSpec(w.shape, w.dtype), weights
    )
    state = parts.client_optimizer.initialize(specs)
    _, weights, _ = tf.while_loop(
        lambda number, *_: number < num_steps,
        take_step,
        (tf.constant(0), weights, state),
    )
    return weights


def _phase(number: int) -> tf.Tensor:
    return tf.constant([number, 0], tf.int64)


def _model_of(element, parts) -> tuple:
    return _unpacked(element[MODEL], parts.model.initial_weights[0])


def _unpacked(vector: Any, like: Weights) -> tuple:
    parts = tf.split(vector, [int(np.size(w)) for w in like])
    return tuple(
        tf.reshape(part, np.shape(w))
        for part, w in zip(parts, like, strict=True)
    )


def _pack(weights) -> tf.Tensor:
    return tf.concat([tf.reshape(w, [-1]) for w in weights], 0)


def _unless(condition, weights, otherwise):
    return tf.nest.map_structure(
        lambda w, o: tf.where(condition > 0, o, w), weights, otherwise
    )
