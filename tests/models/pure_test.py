import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.core.errors import UsageError
from tff_cnn.models import pure

IMAGES = np.random.default_rng(0).random((5, 4, 4, 1)).astype(np.float32)
SEED = tf.constant([0, 0])


def model_with(*layers) -> tf.keras.Model:
    return tf.keras.Sequential([tf.keras.layers.InputLayer((4, 4, 1)), *layers])


def test_the_given_weights_are_used_and_the_models_own_stay():
    model = model_with(
        tf.keras.layers.Flatten(),
        tf.keras.layers.Dense(3),
        tf.keras.layers.Dense(2),
    )
    function = pure.pure_function(model, lambda images, seed: model(images))
    own = model.get_weights()
    rng = np.random.default_rng(1)
    given = [rng.random(w.shape).astype(np.float32) for w in own]
    expected = (IMAGES.reshape(5, 16) @ given[0] + given[1]) @ given[2]
    np.testing.assert_allclose(
        function(given, [IMAGES, SEED]), expected + given[3], rtol=1e-5
    )
    for before, after in zip(own, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_further_arguments_and_several_results():
    model = model_with(tf.keras.layers.Flatten())
    function = pure.pure_function(
        model,
        lambda images, seed, shift: (model(images) + shift, seed),
        [tf.TensorSpec([])],
    )
    shifted, seed = function([], [IMAGES, SEED, 2.0])
    np.testing.assert_allclose(shifted, IMAGES.reshape(5, 16) + 2)
    np.testing.assert_array_equal(seed, [0, 0])


def test_hidden_randomness_is_refused():
    model = model_with(tf.keras.layers.GaussianNoise(1.0))
    with pytest.raises(UsageError, match="keeps or draws state of its own"):
        pure.pure_function(
            model, lambda images, seed: model(images, training=True)
        )
