"""See functional_test.py for the masks of dropout."""

import numpy as np
import tensorflow as tf

from tff_cnn.models import seeded_layers

K = tf.keras.layers


def nested_model() -> tf.keras.Model:
    inner = tf.keras.Sequential(
        [K.InputLayer((4,)), K.Dense(4, name="inner"), K.Dropout(0.5)]
    )
    return tf.keras.Sequential(
        [K.InputLayer((4,)), K.Dropout(0.5), inner, K.Dense(2, name="outer")]
    )


def test_layers_of_models_within_stand_in_their_place():
    copy = seeded_layers.training_copy(nested_model(), "float32")
    assert [
        type(layer).__name__ for layer in seeded_layers.layers_of(copy)
    ] == [
        "SeededDropout",
        "Dense",
        "SeededDropout",
        "Dense",
    ]


def test_without_a_seed_dropout_does_nothing():
    model = nested_model()
    copy = seeded_layers.training_copy(model, "float32")
    copy.set_weights(model.get_weights())
    x = np.ones((3, 4), np.float32)
    np.testing.assert_allclose(copy(x, training=True), model(x), rtol=1e-6)


def test_layers_get_seeds_of_their_own_and_all_of_the_given_one():
    copy = seeded_layers.training_copy(nested_model(), "float32")
    dropouts = [x for x in seeded_layers.layers_of(copy) if hasattr(x, "seed")]

    def words(seed):
        seeded_layers.set_seeds(copy, tf.constant(seed, tf.int64))
        return np.concatenate([layer.seed.numpy() for layer in dropouts])

    first = words([1, 2])
    assert first.dtype == np.int64 and len(np.unique(first)) == 4
    for other in ([1, 3], [2, 2], [1, 2 + 2**40]):
        assert not np.isin(words(other), first).any()


def test_policies_and_replaced_types_are_those_asked_for():
    class Marked(K.Dense):
        pass

    copy = seeded_layers.training_copy(
        nested_model(), "bfloat16", {K.Dense: Marked}
    )
    _, inner, _, outer = seeded_layers.layers_of(copy)
    for layer in (inner, outer):
        assert type(layer) is Marked
        assert layer.compute_dtype == "bfloat16"
        assert layer.kernel.dtype == tf.float32
