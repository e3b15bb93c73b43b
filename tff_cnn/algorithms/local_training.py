"""The one local-SGD loop that all algorithms share, as a TFF client work.

ClientUpdate of McMahan et al. 2017, Algorithm 1, on a client's one element,
whose `batches` say which examples each step takes (`data.preprocessing`):

    for each batch b: w <- opt(w, grad l(w; b))

What differs between algorithms, the gradient and what a client sends and
keeps, is a `LocalRule`; what differs between runs of one are its `Parts`.
"""

import collections
import dataclasses
import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators.codecs import Codecs
from tff_cnn.algorithms import canary_updates, schedules
from tff_cnn.algorithms.local_rule import (
    IN_ROUND,
    GradientFunction,
    LocalRule,
    Result,
    Sent,
    Step,
    Trained,
)
from tff_cnn.algorithms.update_attacks import has_finite_norm
from tff_cnn.core.update_attacks import UpdateAttack
from tff_cnn.data.preprocessing import PADDING_STEP
from tff_cnn.models.functional import SeededFunctionalModel

# The field of a client's element that is 1 where it drops out of the round
# before its update counts, or 0: float32, [].
DROPPED = "dropped"


class Weighting(enum.Enum):
    """How much a client counts in the mean."""

    EXAMPLES = "examples"
    UNIFORM = "uniform"


@dataclasses.dataclass(frozen=True)
class Parts:
    """What every algorithm is built from, beside options of its own.

    Attributes:
      model: What is trained; its initial weights are those of round 0.
      client_optimizer: Applied by each client; starts afresh every round, with
        the round's learning rate where elements have `schedules.FIELD`.
      server_optimizer: Applied to the mean update; its state is part of the
        process's state.
      aggregator: How updates become one.
      weighting: How much a client counts.
      element_spec: Of the one element in a client's sequence
        (`data.preprocessing.element_spec`).
      preprocess: Maps stored images to what the model takes, in the graph.
      gradients: What a rule's `gradients` gets as `base`; None is the gradient
        of a batch's mean loss.
      num_clients: All of the run, whether they take part in a round or not.
      attack: What clients send whose elements say that they attack; None where
        nobody does. Only synchronous processes know of it.
      downlink: What the model is encoded with on its way to the clients; None
        sends it as it is. Only synchronous processes know of it.
      feedback: What clients send codes with that keep, and send another time,
        what these leave out (`error_feedback`); None where nobody does. Only
        synchronous processes know of it.
      augment: Changes a step's images at random, in the graph: (images,
        positions of their examples, number of the client's examples, seed) ->
        images, as `data.augmentation` does; None leaves them.
    """

    model: SeededFunctionalModel
    client_optimizer: tff.learning.optimizers.Optimizer
    server_optimizer: tff.learning.optimizers.Optimizer
    aggregator: tff.aggregators.WeightedAggregationFactory
    weighting: Weighting
    element_spec: collections.OrderedDict
    preprocess: Callable[[tf.Tensor], tf.Tensor]
    gradients: GradientFunction | None = None
    augment: Callable[..., tf.Tensor] | None = None
    num_clients: int = 1
    attack: UpdateAttack | None = None
    feedback: Codecs | None = None
    downlink: Codecs | None = None


class ClientOutput(NamedTuple):
    """What a client's round ends with.

    Attributes:
      result: `tff.learning.templates.ClientResult`: update and its weight.
      kept: For its next round.
      metrics: Unfinalized, of the model.
      is_excluded: int32, scalar: 1 or 0, see `build_client_update`.
      num_bytes: int64, scalar: of what is sent, as far as the rule says that; 0
        where it does not.
    """

    result: tff.learning.templates.ClientResult
    kept: Any
    metrics: Any
    is_excluded: tf.Tensor
    num_bytes: tf.Tensor


def build_client_work(
    parts: Parts, weights_type: tff.StructType, rule: LocalRule
) -> tff.learning.templates.ClientWorkProcess:
    """Builds the client slot of a TFF learning process.

    Its measurements are `train`, the metrics over all clients, and
    `num_nonfinite_clients` (`build_client_update`).

    Args:
      parts: Of the algorithm.
      weights_type: TFF type of the model's `tff.learning.models.ModelWeights`.
      rule: Of the algorithm; one that keeps and sends nothing of its own.
    """
    data_type = tff.SequenceType(
        tff.types.tensorflow_to_type(parts.element_spec)
    )
    train = build_client_update(parts, rule)

    @tff.tensorflow.computation(weights_type, data_type)
    def client_update(initial_weights, data):
        sent = Sent(tuple(initial_weights.trainable))
        output = train(sent, (), data.get_single_element())
        return output.result, output.metrics, output.is_excluded

    _, unfinalized_type, _ = client_update.type_signature.result
    aggregate_metrics = tff.learning.metrics.sum_then_finalize(
        parts.model.finalize_metrics, unfinalized_type
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


def build_client_update(
    parts: Parts, rule: LocalRule
) -> Callable[[Sent, Any, collections.OrderedDict], ClientOutput]:
    """A client's round as a pure function (sent, kept, element) -> output.

    A client whose update is not finite, or so long that its squared norm is
    not (3.4e38 in float32), returns zeros with weight zero and no metrics,
    keeps what it had, and is excluded; likewise where what it would keep is not
    finite. For a private aggregator zeros are a contribution like any other.
    Under DP-SGD within the client this choice follows from noised weights, and
    is post-processing: see `dp_sgd`. Metrics that are not finite are left out
    as well.

    One that drops out (`DROPPED`) counts nowhere either, and is not said to be
    excluded: what it sends nobody gets.

    Args:
      parts: Of the algorithm.
      rule: Of the algorithm.
    """
    base = parts.gradients or batch_gradients(parts.model)

    # Autograph would take seconds to translate what needs no translation.
    @tf.function(autograph=False)
    def train(sent, kept, element):
        return _train(parts, rule, base, sent, kept, element)

    def client_update(sent, kept, element):
        output = ClientOutput(*train(sent, kept, element))
        if canary_updates.FIELD in parts.element_spec:
            result = canary_updates.add_canary(
                output.result, element[canary_updates.FIELD]
            )
            output = output._replace(result=result)
        return output

    return client_update


def _train(parts, rule, base, sent, kept, element) -> ClientOutput:
    """ClientUpdate."""
    if schedules.FIELD in parts.element_spec:
        optimizer = schedules.InRound(
            parts.client_optimizer, element[schedules.FIELD]
        )
        parts = dataclasses.replace(parts, client_optimizer=optimizer)
    # Before the loop: GPUs cannot gather bytes.
    images = parts.preprocess(element["images"])
    batches = element["batches"]
    num_rows = tf.shape(batches)[0]
    # Behind the steps' own seeds stand those of their augmentation.
    num_seeds = num_rows if parts.augment is None else 2 * num_rows
    seeds = step_seeds(element["seed"], num_seeds)
    # Only what is real is trained on; steps of padding come last.
    # (In TFF's graphs `!=` would compare Python objects.)
    is_step = tf.not_equal(batches[:, 0], PADDING_STEP)
    num_steps = tf.math.count_nonzero(is_step, dtype=tf.int32)

    start = rule.start(sent, kept)
    constant = rule.constant(sent, kept)

    def take_step(number, weights, *others):
        batch = tf.gather(batches, number)
        rows = tf.maximum(batch, 0)
        batch_images = tf.gather(images, rows)
        if parts.augment is not None:
            seed = tf.gather(seeds, num_rows + number)
            size = tf.shape(images)[0]
            batch_images = parts.augment(batch_images, rows, size, seed)
        step = Step(
            weights,
            sent,
            kept,
            batch_images,
            tf.gather(element["labels"], rows),
            tf.cast(batch >= 0, tf.float32),
            tf.gather(seeds, number),
            constant,
            element.get(IN_ROUND),
        )
        return number + 1, *_step(parts, rule, base, step, *others)

    carry = rule.initial_carry(parts.client_optimizer, start)
    metrics = parts.model.initialize_metrics_state()
    _, weights, carry, metrics = tf.while_loop(
        lambda number, *_: number < num_steps,
        take_step,
        (tf.constant(0), start, carry, metrics),
    )
    num_examples = tf.math.count_nonzero(batches >= 0, dtype=tf.float32)
    trained = Trained(weights, sent, kept, num_steps, carry)
    is_there = tf.equal(element.get(DROPPED, tf.constant(0.0)), 0)
    return _output(parts, rule, trained, metrics, num_examples, is_there)


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

    def gradients(step):
        with tf.GradientTape() as tape:
            tape.watch(step.weights)
            logits = model.forward(step.weights, step.images, step.seed)
            loss = model.loss(
                output=logits, label=step.labels, sample_weight=step.is_real
            )
        return tape.gradient(loss, step.weights), loss, logits

    return gradients


def _step(parts, rule, base, step: Step, carry, metrics):
    """One optimizer step on one batch: (weights, carry, metrics)."""
    gradient, loss, logits = rule.gradients(base, step)
    carry, weights = rule.apply(parts.client_optimizer, carry, step, gradient)
    metrics = parts.model.update_metrics_state(
        metrics,
        labels=step.labels,
        batch_output=tff.learning.models.BatchOutput(
            loss=loss,
            predictions=logits,
            num_examples=tf.math.count_nonzero(step.is_real, dtype=tf.int32),
        ),
        sample_weight=step.is_real,
    )
    return tuple(weights), carry, metrics


def _output(
    parts, rule, trained: Trained, metrics, num_examples, is_there
) -> ClientOutput:
    update, kept, num_bytes = Result(*rule.result(trained))
    is_included = has_finite_norm(update)
    for leaf in tf.nest.flatten(kept):
        is_included &= tf.reduce_all(tf.math.is_finite(leaf))
    weight = tf.constant(1.0)
    if parts.weighting is Weighting.EXAMPLES:
        weight = num_examples
    sums = tf.stack(tf.nest.flatten(metrics))
    is_counted = is_included & is_there
    is_measured = is_counted & tf.reduce_all(tf.math.is_finite(sums))
    return ClientOutput(
        tff.learning.templates.ClientResult(
            update=_zero_unless(is_counted, update),
            update_weight=_zero_unless(is_counted, weight),
        ),
        tf.nest.map_structure(
            lambda new, old: tf.where(is_included, new, old), kept, trained.kept
        ),
        _zero_unless(is_measured, metrics),
        tf.cast(is_there & ~is_included, tf.int32),
        tf.constant(0, tf.int64) if num_bytes is None else num_bytes,
    )


def _zero_unless(condition, structure):
    return tf.nest.map_structure(
        lambda x: tf.where(condition, x, tf.zeros_like(x)), structure
    )
