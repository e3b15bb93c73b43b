"""Every registered model can be trained federatedly, and privately."""

import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.models import MODELS, functional, validators

SHAPE, CLASSES = (28, 28, 1), 10


@pytest.fixture(params=MODELS)
def build(request):
    return MODELS.get(request.param)


def test_maps_images_to_one_logit_a_class_for_any_image_shape(build):
    for shape, classes in ((SHAPE, CLASSES), ((32, 32, 3), 7)):
        model = build(shape, classes, 0)
        validators.check_dimensions(model, shape, classes)
        logits = model(np.full((2, *shape), 0.5, np.float32))
        assert logits.shape == (2, classes)
        assert float(tf.reduce_min(logits)) < 0  # Not probabilities.


def test_holds_nothing_but_trainable_weights(build):
    validators.check_trainable_statelessly(build(SHAPE, CLASSES, 0))


def test_initial_weights_are_a_function_of_the_seed(build):
    first, second, other = (build(SHAPE, CLASSES, s) for s in (1, 1, 2))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [w for w in first.weights if "kernel" in w.name]
    others = [w for w in other.weights if "kernel" in w.name]
    for a, b in zip(kernels, others, strict=True):
        assert not np.array_equal(a, b)


def test_functional_model_equals_keras_in_test_mode(build):
    model = build(SHAPE, CLASSES, 0)
    images = np.random.default_rng(0).random((3, *SHAPE), np.float32)
    wrapped = functional.from_keras(model)
    np.testing.assert_allclose(
        wrapped.predict_on_batch(wrapped.initial_weights, images, False),
        model(images, training=False),
        rtol=1e-6,
        atol=1e-6,
    )
