import pytest
import tensorflow as tf

from tff_cnn.core.errors import UsageError
from tff_cnn.models import validators


def model_with(*layers) -> tf.keras.Model:
    return tf.keras.Sequential(
        [tf.keras.layers.InputLayer((8, 8, 1)), *layers], name="sample"
    )


def test_batch_normalization_is_refused_by_name_with_the_remedy():
    model = model_with(tf.keras.layers.BatchNormalization(name="bn1"))
    with pytest.raises(UsageError, match="'bn1'.*use group normalization"):
        validators.check_trainable_statelessly(model)


def test_frozen_weights_are_refused():
    model = model_with(
        tf.keras.layers.Dense(3, trainable=False, name="frozen"),
        tf.keras.layers.Dense(3),
    )
    with pytest.raises(UsageError, match="'frozen'"):
        validators.check_trainable_statelessly(model)


def test_a_model_without_weights_is_refused():
    with pytest.raises(UsageError, match="nothing to train"):
        validators.check_trainable_statelessly(
            model_with(tf.keras.layers.Flatten())
        )


def test_group_normalization_is_fine():
    validators.check_trainable_statelessly(
        model_with(
            tf.keras.layers.Conv2D(4, 3), tf.keras.layers.GroupNormalization(2)
        )
    )


def test_dimensions_that_do_not_fit_are_named():
    model = model_with(tf.keras.layers.Flatten(), tf.keras.layers.Dense(3))
    validators.check_dimensions(model, (8, 8, 1), 3)
    with pytest.raises(UsageError, match="needs .*None, 10"):
        validators.check_dimensions(model, (8, 8, 1), 10)
