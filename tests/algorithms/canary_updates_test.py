import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators import Mean
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms import canary_updates
from tff_cnn.algorithms.fedavg import build_fedavg
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.data import preprocessing
from tff_cnn.models import MODELS, functional

BATCHING = preprocessing.Batching(epochs=1, batch_size=3)
SIZE = 5450  # Parameters of the model.


def test_a_canary_is_cut_into_the_shapes_of_the_update():
    update = (tf.ones([2, 3]), tf.ones([]), tf.ones([4]))
    result = tff.learning.templates.ClientResult(update, tf.constant(2.0))
    found = canary_updates.add_canary(result, tf.range(11, dtype=tf.float32))
    matrix, scalar, vector = found.update
    np.testing.assert_array_equal(matrix, [[1, 2, 3], [4, 5, 6]])
    assert scalar == 7
    np.testing.assert_array_equal(vector, [8, 9, 10, 11])
    assert found.update_weight == 2
    kept = canary_updates.add_canary(result, tf.zeros([0]))
    for leaf in kept.update:
        np.testing.assert_array_equal(leaf, tf.ones_like(leaf))


@pytest.fixture(scope="module")
def rounds(digits):
    """(clients' numbers of examples, vectors or None) -> weights moved."""

    def run(sizes, vectors=None):
        spec = preprocessing.element_spec((8, 8, 1))
        data = [
            BATCHING.client_data(
                digits.train.take(np.arange(size)), np.zeros(2, np.int64)
            )
            for size in sizes
        ]
        if vectors is not None:
            spec = collections.OrderedDict(spec, canary=canary_updates.SPEC)
            for (element,), vector in zip(data, vectors, strict=True):
                element["canary"] = np.float32(vector)
        parts = Parts(
            functional.from_keras(MODELS.get("digits_cnn")((8, 8, 1), 10, 0)),
            tff.learning.optimizers.build_sgdm(0.1),
            tff.learning.optimizers.build_sgdm(1.0),
            build_aggregator(Mean()),
            Weighting.UNIFORM,
            spec,
            lambda images: preprocessing.scale(images, 16),
        )
        process = build_fedavg(parts)
        before = process.initialize()
        output = process.next(before, data)
        moved = np.concatenate(
            [
                np.ravel(new - old)
                for new, old in zip(
                    output.state.global_model_weights.trainable,
                    before.global_model_weights.trainable,
                    strict=True,
                )
            ]
        )
        return moved, output.metrics["client_work"]

    return run


@pytest.mark.usefixtures("native_runtime")
def test_a_canary_is_a_client_whose_update_is_its_vector(rounds):
    plain, metrics = rounds((5, 7))
    vector = np.linspace(-1, 1, SIZE)
    moved, audited_metrics = rounds((5, 7, 0), ([], [], vector))
    np.testing.assert_allclose(moved, (2 * plain - vector) / 3, atol=1e-6)
    # It has no examples, and so no say in the metrics.
    assert audited_metrics == metrics


@pytest.mark.usefixtures("native_runtime")
def test_a_round_without_canaries_is_as_if_there_were_none(rounds):
    plain, metrics = rounds((5, 7))
    moved, audited_metrics = rounds((5, 7), ([], []))
    np.testing.assert_array_equal(moved, plain)
    assert audited_metrics == metrics
