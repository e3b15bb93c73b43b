import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.models import classification


def test_metrics_are_means_over_examples():
    state = classification.initialize_metrics()
    batches = [
        (1.0, [[9, 0, 0], [9, 0, 0]], [0, 1], None),
        (4.0, [[0, 0, 9], [9, 0, 0]], [2, 1], [1.0, 0.0]),
    ]
    for loss, logits, labels, is_real in batches:
        state = classification.update_metrics(
            state,
            tf.constant(labels),
            tff.learning.models.BatchOutput(
                loss=tf.constant(loss),
                predictions=tf.constant(logits, tf.float32),
                num_examples=len(labels),
            ),
            is_real,
        )
    metrics = classification.finalize_metrics(state)
    assert float(metrics["loss"]) == pytest.approx((1 * 2 + 4 * 1) / 3)
    assert float(metrics["accuracy"]) == pytest.approx(2 / 3)


def test_metrics_of_nothing_are_nan():
    metrics = classification.finalize_metrics(
        classification.initialize_metrics()
    )
    assert np.isnan(metrics["loss"])
    assert np.isnan(metrics["accuracy"])


def test_cross_entropy_is_the_mean_over_what_is_real():
    logits = tf.constant([[1.0, 2.0], [0.0, 0.0], [3.0, 1.0]])
    labels = tf.constant([0, 1, 1])
    losses = np.log(1 + np.exp([1.0, 0.0, 2.0]))
    np.testing.assert_allclose(
        classification.example_losses(logits, labels), losses, rtol=1e-6
    )
    for weights, expected in (
        (None, losses.mean()),
        ([1.0, 0.0, 1.0], losses[[0, 2]].mean()),
        ([0.0, 0.0, 0.0], 0.0),
    ):
        found = classification.cross_entropy(logits, labels, weights)
        assert float(found) == pytest.approx(expected, rel=1e-6)
