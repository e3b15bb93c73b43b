import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.evaluation import inversion

SHAPE = (3, 3, 1)
RNG = np.random.default_rng(0)
WEIGHTS = tf.constant(RNG.standard_normal((9, 4)), tf.float32)
IMAGE = RNG.uniform(size=(1, *SHAPE)).astype(np.float32)
LABELS = tf.constant([2])


def gradient_of(images, labels):
    """Of softmax regression, in its kernel and its bias."""
    flat = tf.reshape(images, [len(images), -1])
    error = tf.nn.softmax(flat @ WEIGHTS) - tf.one_hot(labels, 4)
    return [tf.matmul(flat, error, transpose_a=True), error[0]]


TARGET = [g.numpy() for g in gradient_of(IMAGE, LABELS)]


def test_psnr():
    image = np.full(SHAPE, 0.5, np.float32)
    assert inversion.psnr(image + 0.1, image) == pytest.approx(20, abs=1e-4)
    assert inversion.psnr(image + 0.01, image) == pytest.approx(40, abs=1e-3)
    assert inversion.psnr(image, image) == np.inf


def test_the_label_is_where_the_gradient_is_negative():
    assert inversion.inferred_label(TARGET) == 2
    with pytest.raises(ValueError, match="no bias"):
        inversion.inferred_label(TARGET[:1])


@pytest.mark.parametrize("method", inversion.METHODS)
def test_an_image_is_found_by_its_gradient(method):
    steps = []
    found = inversion.invert(
        gradient_of,
        TARGET,
        SHAPE,
        method,
        seed=3,
        steps=300,
        restarts=1,
        tv_weight=0.0,
        after_step=lambda: steps.append(1),
    )
    assert found.labels.tolist() == [2] and found.images.shape == (1, *SHAPE)
    assert inversion.psnr(found.images, IMAGE) > 30
    assert found.distance < 1e-3
    assert 1 < len(steps) <= 310  # L-BFGS ends where it is there.


def test_the_cosine_knows_no_length():
    half = [g / 2 for g in TARGET]
    found = [
        inversion.invert(
            gradient_of,
            target,
            SHAPE,
            "cosine_similarity",
            3,
            steps=20,
            restarts=1,
        ).images
        for target in (TARGET, half)
    ]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_of_several_starts_the_nearest_counts():
    def distance(seed, restarts):
        return inversion.invert(
            gradient_of, TARGET, SHAPE, "cosine_similarity", seed, 5, restarts
        ).distance

    assert distance(0, 3) < max(distance(seed, 1) for seed in range(3))


def test_total_variation_makes_images_smooth():
    def variation(weight):
        found = inversion.invert(
            gradient_of,
            TARGET,
            SHAPE,
            "cosine_similarity",
            0,
            50,
            1,
            tv_weight=weight,
        )
        return float(tf.image.total_variation(tf.constant(found.images))[0])

    assert variation(10.0) < variation(0.0) / 2
