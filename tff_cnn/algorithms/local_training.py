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
# batch, whose loss and logits are for metrics; `is_real` is 0 for padding, the
# seed is that of the step (`step_seeds`).
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

    A client whose update is not finite, or so long that its squared norm is
    not (3.4e38 in float32), returns zeros with weight zero and no metrics, and
    counts in the measurement `num_nonfinite_clients`. For a private aggregator
    zeros are a contribution like any other. Under DP-SGD within the client
    this choice follows from noised weights, and is post-processing: see
    `dp_sgd`. Metrics that are not finite are left out as well.

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
    seeds = step_seeds(element["seed"], tf.shape(batches)[0])
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
            tf.gather(seeds, step),
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


def step_seeds(seed: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
    """A seed for each step of a client's local training.

    In 64 bits and by splitting: `stateless_fold_in` keeps no more of a seed
    than one word, and int32 seeds could all be tried by who wants to subtract
    the noise of a step.

    Args:
      seed: Of the client, int32 or int64, [2].
      num_steps: int32, scalar.

    Returns:
      int64, [num_steps, 2].
    """
    return tf.random.split(tf.cast(seed, tf.int64), num_steps)


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
    # Not finite where any number is not; and what is finite but longer would
    # overflow where norms are computed.
    squared_norm = tf.add_n([tf.reduce_sum(tf.square(u)) for u in update])
    is_included = tf.math.is_finite(squared_norm)
    weight = tf.constant(1.0)
    if weighting is Weighting.EXAMPLES:
        weight = num_examples
    sums = tf.stack(tf.nest.flatten(metrics))
    is_measured = is_included & tf.reduce_all(tf.math.is_finite(sums))

    def zero_unless(condition, structure):
        return tf.nest.map_structure(
            lambda x: tf.where(condition, x, tf.zeros_like(x)), structure
        )

    result = tff.learning.templates.ClientResult(
        update=zero_unless(is_included, update),
        update_weight=zero_unless(is_included, weight),
    )
    is_excluded = 1 - tf.cast(is_included, tf.int32)
    return result, zero_unless(is_measured, metrics), is_excluded
