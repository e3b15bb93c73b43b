import numpy as np
import tensorflow as tf

from tff_cnn.data.examples import ClientExamples, Examples
from tff_cnn.data.standards import Standard
from tff_cnn.data.transforms import Preparation
from tff_cnn.evaluation.per_client import ClientAccuracy, ClientLoss
from tff_cnn.models import objectives


def test_each_client_is_judged_by_its_own_examples(tiny_examples):
    # A model that always answers class 1, of three that take turns.
    model = tf.keras.Sequential(
        [tf.keras.layers.Flatten(), tf.keras.layers.Dense(3)]
    )
    model.build((None, 8, 8, 1))
    weights = [np.zeros((64, 3), "f4"), np.float32([0, 1, 0])]
    indices = [
        np.array([1, 4]),
        np.arange(24),
        np.array([0]),
        np.array([], int),
    ]
    clients = ClientExamples(tiny_examples, indices)
    for batch_size in (500, 5):
        accuracy = ClientAccuracy(
            model, clients, Preparation(16), batch_size=batch_size
        )
        assert accuracy(weights, [0, 1, 3]) == [1.0, 8 / 24, None]
        assert accuracy(weights, [2]) == [0.0]
        assert accuracy(weights, []) == []


def test_images_are_prepared_as_in_training(tiny_examples):
    """A model of three channels; bright is what is above the mean."""
    model = tf.keras.Sequential(
        [tf.keras.layers.Flatten(), tf.keras.layers.Dense(3, use_bias=False)]
    )
    model.build((None, 8, 8, 3))
    weights = [np.zeros((192, 3), "f4")]
    weights[0][:3] = [-1, 1, 0]  # All channels of the first pixel.
    is_bright = tiny_examples.images[:, 0, 0, 0] > 0.6 * 16
    examples = Examples(tiny_examples.images, is_bright.astype(np.int32))
    clients = ClientExamples(examples, [np.arange(24)])
    prepare = Preparation(16, True, Standard((0.6,), (0.1,)))
    assert ClientAccuracy(model, clients, prepare)(weights, [0]) == [1.0]
    assert 0 < is_bright.sum() < 24


def test_the_loss_is_the_mean_of_what_a_client_is_trained_on(tiny_examples):
    """Of a model whose logits are 0, log 2 and log 5, by weighted classes."""
    model = tf.keras.Sequential(
        [tf.keras.layers.Flatten(), tf.keras.layers.Dense(3)]
    )
    model.build((None, 8, 8, 1))
    weights = [np.zeros((64, 3), "f4"), np.log(np.float32([1, 2, 5]))]
    clients = ClientExamples(
        tiny_examples, [np.array([0, 1, 4, 2]), np.array([], int)]
    )
    surprise = np.log(8 / np.array([1, 2, 5]))
    for batch_size in (500, 3):
        loss = ClientLoss(
            model, clients, Preparation(16), batch_size=batch_size
        )
        found, nothing = loss(weights, [0, 1])
        assert nothing is None
        np.testing.assert_allclose(
            found, surprise[[0, 1, 1, 2]].mean(), rtol=1e-6
        )
    weighted = objectives.of((), 3, 3, (1.0, 4.0, 0.5))
    loss = ClientLoss(model, clients, Preparation(16), weighted)
    expected = (surprise * [1, 2 * 4, 0.5]).sum() / 4
    np.testing.assert_allclose(loss(weights, [0]), expected, rtol=1e-6)
