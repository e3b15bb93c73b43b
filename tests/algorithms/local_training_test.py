"""See fedavg_test.py for training itself; here is what it returns."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.algorithms import local_training
from tff_cnn.algorithms.local_training import Weighting
from tff_cnn.data import preprocessing
from tff_cnn.models import MODELS, functional

pytestmark = pytest.mark.usefixtures("native_runtime")


@pytest.fixture(scope="module")
def client_update(digits):
    """Trains one client and returns (client results, measurements)."""

    def update(weighting, num_examples, optimizer=None):
        batching = preprocessing.Batching(epochs=3, batch_size=4)
        model = functional.from_keras(
            MODELS.get("digits_cnn")((8, 8, 1), 10, 0)
        )
        trainable, _ = model.initial_weights
        weights_type = tff.to_type(
            tff.learning.models.ModelWeights(
                tuple((w.dtype, w.shape) for w in trainable), ()
            )
        )
        work = local_training.build_client_work(
            model,
            weights_type,
            optimizer or tff.learning.optimizers.build_sgdm(0.1),
            weighting,
            preprocessing.element_spec((8, 8, 1)),
            lambda images: preprocessing.scale(images, 16),
        )
        data = batching.client_data(
            digits.train.take(np.arange(num_examples)),
            np.array([1, 2], np.int32),
        )
        weights = tff.learning.models.ModelWeights(trainable, ())
        output = work.next(work.initialize(), [weights], [data])
        return output.result[0], output.measurements

    return update


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [(Weighting.EXAMPLES, 3 * 10), (Weighting.UNIFORM, 1)],
)
def test_weight_of_a_client(client_update, weighting, expected):
    result, measurements = client_update(weighting, 10)
    assert result.update_weight == expected
    assert measurements["num_nonfinite_clients"] == 0
    # The first steps of a fresh model guess about one digit in ten.
    assert 0 <= measurements["train"]["accuracy"] <= 0.5
    assert measurements["train"]["loss"] == pytest.approx(np.log(10), abs=0.4)


def test_any_tff_optimizer_trains(client_update):
    result, _ = client_update(
        Weighting.UNIFORM, 6, tff.learning.optimizers.build_adam(0.01)
    )
    # Adam's first steps move each used coordinate by about the learning rate.
    largest = max(float(np.abs(u).max()) for u in result.update)
    assert largest == pytest.approx(6 * 0.01, rel=0.5)


def test_update_is_initial_minus_final(client_update):
    result, _ = client_update(Weighting.UNIFORM, 10)
    assert tf.linalg.global_norm([tf.constant(u) for u in result.update]) > 0.01
