"""The one local-SGD loop that all algorithms share, as a TFF client work.

ClientUpdate of McMahan et al. 2017, Algorithm 1, on a client's one element,
whose `batches` say which examples each step takes (`data.preprocessing`):

    for each batch b: w <- opt(w, grad l(w; b))

where another function may take the place of the gradient (`GradientFunction`),
and the update is initial - final weights, as TFF's finalizers expect.
"""

import collections
import enum
from collections.abc import Callable

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.algorithms import canaries
from tff_cnn.data.preprocessing import PADDING_STEP
from tff_cnn.models.functional import SeededFunctionalModel

# (weights, images, labels, is_real, seed) -> (gradients, loss, logits) of a
# batch, whose loss and logits are for metrics; `is_real` is 0 for padding.
GradientFunction = Callable[..., tuple]


class Weighting(enum.Enum):
    """How much a client counts in the mean."""

    EXAMPLES = "examples"
    UNIFORM = "uniform"


def build_client_work(
    model: SeededFunctionalModel,
    weights_type: tff.StructType,
    optimizer: tff.learning.optimizers.Optimizer,
    weighting: Weighting,
    element_spec: collections.OrderedDict,
    preprocess: Callable[[tf.Tensor], tf.Tensor],
    gradients: GradientFunction | None = None,
) -> tff.learning.templates.ClientWorkProcess:
    """Builds the client slot of a TFF learning process.

    A client whose update is not finite returns zeros with weight zero and no
    metrics, and counts in the measurement `num_nonfinite_clients`.

    Args:
      model: What is trained.
      weights_type: TFF type of its `tff.learning.models.ModelWeights`.
      optimizer: Applied by each client; starts afresh every round.
      weighting: How much a client counts.
      element_spec: Of the one element in a client's sequence
        (`data.preprocessing.element_spec`).
      preprocess: Maps stored images to what the model takes, in the graph.
      gradients: What a local step takes for the gradient of a batch; None is
        that of its mean loss.
    """
    gradients = gradients or batch_gradients(model)
    data_type = tff.SequenceType(tff.types.tensorflow_to_type(element_spec))

    @tff.tensorflow.computation(weights_type, data_type)
    def client_update(initial_weights, data):
        element = data.get_single_element()
        result, metrics, is_nonfinite = _train(
            model,
            optimizer,
            weighting,
            initial_weights,
            element,
            preprocess,
            gradients,
        )
        if canaries.FIELD in element_spec:
            result = canaries.add_canary(result, element[canaries.FIELD])
        return result, metrics, is_nonfinite

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


# Autograph would take seconds to translate what needs no translation.
@tf.function(autograph=False)
def _train(
    model,
    optimizer,
    weighting,
    initial_weights,
    element,
    preprocess,
    gradients,
):
    """ClientUpdate: (result, unfinalized metrics, 1 if excluded else 0)."""
    initial = tuple(initial_weights.trainable)
    # Before the loop: GPUs cannot gather bytes.
    images = preprocess(element["images"])
    batches = element["batches"]
    # Only what is real is trained on; steps of padding come last.
    # (In TFF's graphs `!=` would compare Python objects.)
    is_step = tf.not_equal(batches[:, 0], PADDING_STEP)
    num_steps = tf.math.count_nonzero(is_step, dtype=tf.int32)

    state = optimizer.initialize(
        tf.nest.map_structure(
            lambda w: tf.TensorSpec(w.shape, w.dtype), initial
        )
    )

    def take_step(step, *carry):
        batch = tf.gather(batches, step)
        rows = tf.maximum(batch, 0)
        carry = _step(
            model,
            optimizer,
            gradients,
            carry,
            tf.gather(images, rows),
            tf.gather(element["labels"], rows),
            tf.cast(batch >= 0, tf.float32),
            tf.random.experimental.stateless_fold_in(element["seed"], step),
        )
        return step + 1, *carry

    metrics = model.initialize_metrics_state()
    _, weights, _, metrics = tf.while_loop(
        lambda step, *_: step < num_steps,
        take_step,
        (tf.constant(0), initial, state, metrics),
    )
    num_examples = tf.math.count_nonzero(batches >= 0, dtype=tf.float32)
    return _client_result(weighting, initial, weights, metrics, num_examples)


def batch_gradients(model: SeededFunctionalModel) -> GradientFunction:
    """The gradient of a batch's mean loss."""

    def gradients(weights, images, labels, is_real, seed):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits = model.forward(weights, images, seed)
            loss = model.loss(
                output=logits, label=labels, sample_weight=is_real
            )
        return tape.gradient(loss, weights), loss, logits

    return gradients


def _step(model, optimizer, gradients, carry, images, labels, is_real, seed):
    """One optimizer step on one batch; `is_real` is 0 for padding."""
    weights, state, metrics = carry
    gradient, loss, logits = gradients(weights, images, labels, is_real, seed)
    state, weights = optimizer.next(state, weights, gradient)
    metrics = model.update_metrics_state(
        metrics,
        labels=labels,
        batch_output=tff.learning.models.BatchOutput(
            loss=loss,
            predictions=logits,
            num_examples=tf.math.count_nonzero(is_real, dtype=tf.int32),
        ),
        sample_weight=is_real,
    )
    return tuple(weights), state, metrics


def _client_result(weighting, initial, final, metrics, num_examples):
    update = tf.nest.map_structure(tf.subtract, initial, final)
    is_finite = tf.reduce_all(
        [tf.reduce_all(tf.math.is_finite(u)) for u in update]
    )
    weight = tf.constant(1.0)
    if weighting is Weighting.EXAMPLES:
        weight = num_examples

    def zero_unless_finite(value):
        return tf.where(is_finite, value, tf.zeros_like(value))

    result = tff.learning.templates.ClientResult(
        update=tf.nest.map_structure(zero_unless_finite, update),
        update_weight=zero_unless_finite(weight),
    )
    metrics = tf.nest.map_structure(zero_unless_finite, metrics)
    return result, metrics, 1 - tf.cast(is_finite, tf.int32)
