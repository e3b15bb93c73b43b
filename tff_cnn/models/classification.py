"""Loss and metrics of a classifier, as TFF's functional models take them."""

import collections

import tensorflow as tf


def example_losses(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Sparse softmax cross-entropy of each example, [batch]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=logits
    )


def cross_entropy(output, label, sample_weight=None):
    """Mean sparse softmax cross-entropy of a batch.

    With `sample_weight` ([batch], zero for padding) the weighted mean; zero
    where all weights are.
    """
    losses = example_losses(output, label)
    if sample_weight is None:
        return tf.reduce_mean(losses)
    return tf.math.divide_no_nan(
        tf.reduce_sum(losses * sample_weight), tf.reduce_sum(sample_weight)
    )


@tf.function(autograph=False)
def initialize_metrics():
    """(sum, number of examples) of each metric, of nothing."""
    return collections.OrderedDict(
        loss=(tf.constant(0.0), tf.constant(0.0)),
        accuracy=(tf.constant(0.0), tf.constant(0.0)),
    )


@tf.function(autograph=False)
def update_metrics(state, labels, batch_output, sample_weight=None):
    """Adds a batch to (sum, number of examples) of each metric."""
    logits = batch_output.predictions
    if sample_weight is None:
        sample_weight = tf.ones_like(labels, tf.float32)
    num_examples = tf.reduce_sum(sample_weight)
    predicted = tf.argmax(logits, axis=-1, output_type=labels.dtype)
    num_correct = tf.reduce_sum(
        tf.cast(tf.equal(predicted, labels), tf.float32) * sample_weight
    )
    loss_sum, loss_count = state["loss"]
    correct_sum, correct_count = state["accuracy"]
    return collections.OrderedDict(
        loss=(
            loss_sum + batch_output.loss * num_examples,
            loss_count + num_examples,
        ),
        accuracy=(correct_sum + num_correct, correct_count + num_examples),
    )


@tf.function(autograph=False)
def finalize_metrics(state):
    """Means over examples; NaN over none."""
    return collections.OrderedDict(
        loss=state["loss"][0] / state["loss"][1],
        accuracy=state["accuracy"][0] / state["accuracy"][1],
    )
