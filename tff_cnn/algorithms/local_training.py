"""The one local-SGD loop that all algorithms share, as a TFF client work.

ClientUpdate of McMahan et al. 2017, Algorithm 1, on a client's one element:

    for each epoch: shuffle
        for each batch b of size B: w <- opt(w, grad l(w; b))

and the update is initial - final weights, as TFF's finalizers expect.
"""

import collections
import dataclasses
import enum
from collections.abc import Callable

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.models.functional import SeededFunctionalModel


class Weighting(enum.Enum):
    """How much a client counts in the mean."""

    EXAMPLES = "examples"
    UNIFORM = "uniform"


@dataclasses.dataclass(frozen=True)
class LocalTraining:
    """What a client does in a round.

    Attributes:
      epochs: Passes over the client's examples, >= 1.
      batch_size: Examples a step, >= 1; the last batch of an epoch is smaller
        where the number of examples is not a multiple.
      weighting: `EXAMPLES` weighs a client by examples x epochs.
      shuffle: A new order for each epoch; False keeps the client's order.
    """

    epochs: int
    batch_size: int
    weighting: Weighting
    shuffle: bool = True


def build_client_work(
    model: SeededFunctionalModel,
    weights_type: tff.StructType,
    optimizer: tff.learning.optimizers.Optimizer,
    options: LocalTraining,
    element_spec: collections.OrderedDict,
    preprocess: Callable[[tf.Tensor], tf.Tensor],
) -> tff.learning.templates.ClientWorkProcess:
    """Builds the client slot of a TFF learning process.

    A client whose update is not finite returns zeros with weight zero and no
    metrics, and counts in the measurement `num_nonfinite_clients`.

    Args:
      model: What is trained.
      weights_type: TFF type of its `tff.learning.models.ModelWeights`.
      optimizer: Applied by each client; starts afresh every round.
      options: Epochs, batches, weighting.
      element_spec: Specs of `images`, `labels` and `seed`, the one element of
        a client's sequence.
      preprocess: Maps stored images to what the model takes, in the graph.
    """
    data_type = tff.SequenceType(tff.types.tensorflow_to_type(element_spec))

    @tff.tensorflow.computation(weights_type, data_type)
    def client_update(initial_weights, data):
        element = data.get_single_element()
        return _train(
            model, optimizer, options, initial_weights, element, preprocess
        )

    _, unfinalized_type, _ = client_update.type_signature.result
    aggregate_metrics = tff.learning.metrics.sum_then_finalize(
        model.finalize_metrics, unfinalized_type
    )

    @tff.federated_computation
    def initialize():
        return tff.federated_value((), tff.SERVER)

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(weights_type, tff.CLIENTS),
        tff.FederatedType(data_type, tff.CLIENTS),
    )
    def next_fn(state, weights, client_data):
        result, metrics, is_nonfinite = tff.federated_map(
            client_update, (weights, client_data)
        )
        measurements = tff.federated_zip(
            collections.OrderedDict(
                train=aggregate_metrics(metrics),
                num_nonfinite_clients=tff.federated_sum(is_nonfinite),
            )
        )
        return tff.templates.MeasuredProcessOutput(state, result, measurements)

    return tff.learning.templates.ClientWorkProcess(initialize, next_fn)


@tf.function
def _train(model, optimizer, options, initial_weights, element, preprocess):
    """ClientUpdate: (result, unfinalized metrics, 1 if excluded else 0)."""
    initial = tuple(initial_weights.trainable)
    labels, seed = element["labels"], element["seed"]
    images = preprocess(element["images"])
    num_examples = tf.shape(labels)[0]
    batch_size = options.batch_size
    num_batches = (num_examples + batch_size - 1) // batch_size

    weights = initial
    state = optimizer.initialize(
        tf.nest.map_structure(
            lambda w: tf.TensorSpec(w.shape, w.dtype), initial
        )
    )
    metrics = model.initialize_metrics_state()
    for epoch in tf.range(options.epochs):
        order = tf.range(num_examples)
        if options.shuffle:
            order = tf.random.experimental.stateless_shuffle(
                order, seed=_fold_in(seed, epoch)
            )
        for batch in tf.range(num_batches):
            index = order[batch * batch_size : (batch + 1) * batch_size]
            step = epoch * num_batches + batch
            weights, state, metrics = _step(
                model,
                optimizer,
                (weights, state, metrics),
                tf.gather(images, index),
                tf.gather(labels, index),
                # Counts down, so it never meets the epochs of the shuffle.
                _fold_in(seed, -1 - step),
            )
    return _client_result(model, options, initial, weights, metrics, labels)


def _step(model, optimizer, carry, images, labels, seed):
    """One optimizer step on one batch."""
    weights, state, metrics = carry
    with tf.GradientTape() as tape:
        tape.watch(weights)
        logits = model.forward(weights, images, seed)
        loss = model.loss(output=logits, label=labels)
    gradients = tape.gradient(loss, weights)
    state, weights = optimizer.next(state, weights, gradients)
    metrics = model.update_metrics_state(
        metrics,
        labels=labels,
        batch_output=tff.learning.models.BatchOutput(
            loss=loss, predictions=logits, num_examples=tf.shape(labels)[0]
        ),
    )
    return tuple(weights), state, metrics


def _client_result(model, options, initial, final, metrics, labels):
    update = tf.nest.map_structure(tf.subtract, initial, final)
    is_finite = tf.reduce_all(
        [tf.reduce_all(tf.math.is_finite(u)) for u in update]
    )
    weight = tf.constant(1.0)
    if options.weighting is Weighting.EXAMPLES:
        weight = tf.cast(tf.size(labels) * options.epochs, tf.float32)

    def zero_unless_finite(value):
        return tf.where(is_finite, value, tf.zeros_like(value))

    result = tff.learning.templates.ClientResult(
        update=tf.nest.map_structure(zero_unless_finite, update),
        update_weight=zero_unless_finite(weight),
    )
    metrics = tf.nest.map_structure(zero_unless_finite, metrics)
    return result, metrics, 1 - tf.cast(is_finite, tf.int32)


def _fold_in(seed, value):
    return tf.random.experimental.stateless_fold_in(seed, value)
