import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tff_cnn.models import adversaries, objectives

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(12, 2)).astype(np.float32)
IMAGES = RNG.uniform(0.3, 0.7, (5, 3, 4, 1)).astype(np.float32)
LABELS = np.array([0, 1, 1, 0, 1], np.int32)
SEED = np.array([1, 2], np.int64)


def linear(images):
    """Logits of two classes; their difference is linear in the image."""
    return tf.reshape(images, [-1, 12]) @ KERNEL


GRADIENT = adversaries.loss_gradient(linear, objectives.SOFTMAX.example_losses)


def perturbed(perturbation, images=IMAGES, labels=LABELS, gradient=GRADIENT):
    found = adversaries.perturbed(
        gradient, tf.constant(images), labels, SEED, perturbation
    )
    return found.numpy()


def away(labels=LABELS):
    """The sign in which each image's loss grows: of the other class's
    weights minus its own.
    """
    difference = KERNEL[:, 1 - labels] - KERNEL[:, labels]
    return np.sign(difference.T).reshape(IMAGES.shape)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("random_start", [False, True])
def test_of_a_linear_model_the_worst_corner_is_found(epsilon, random_start):
    """2.5 epsilon / steps reaches it from anywhere within the ball."""
    found = perturbed(adversaries.pgd(epsilon, 10, None, random_start))
    np.testing.assert_allclose(found, IMAGES + epsilon * away(), atol=1e-6)


def test_steps_add_up_until_the_edge():
    for num_steps, moved in ((1, 0.04), (2, 0.08), (3, 0.1), (7, 0.1)):
        found = perturbed(adversaries.pgd(0.1, num_steps, 0.04, False))
        np.testing.assert_allclose(found, IMAGES + moved * away(), atol=1e-6)


def test_fgsm_is_one_step_of_pgd_of_size_epsilon():
    np.testing.assert_array_equal(
        perturbed(adversaries.fgsm(0.1)),
        perturbed(adversaries.pgd(0.1, 1, 0.1, random_start=False)),
    )


def test_random_starts_are_uniform_within_epsilon_and_follow_from_the_seed():
    images = np.full((200, 3, 4, 1), 0.5, np.float32)
    labels = np.zeros(200, np.int32)
    start = adversaries.Perturbation(0.2, 1, 0.0, random_start=True)
    found = perturbed(start, images, labels) - 0.5
    np.testing.assert_array_equal(found, perturbed(start, images, labels) - 0.5)
    # 2,400 uniform numbers in [-0.2, 0.2]: five standard errors.
    assert abs(found.mean()) < 5 * 0.4 / np.sqrt(12 * 2400)
    assert np.std(found) == pytest.approx(0.4 / np.sqrt(12), rel=0.05)
    assert np.abs(found).max() <= 0.2 + 1e-6
    other = adversaries.perturbed(GRADIENT, images, labels, SEED + 1, start)
    assert np.abs(other - 0.5 - found).max() > 0.1


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    seed=st.integers(0, 2**31),
    epsilon=st.floats(0, 1),
    num_steps=st.integers(1, 4),
    step_size=st.floats(0, 2),
    random_start=st.booleans(),
)
def test_neither_the_ball_nor_the_image_is_left(
    seed, epsilon, num_steps, step_size, random_start
):
    rng = np.random.default_rng(seed)
    images = rng.uniform(-0.2, 1.2, (2, 2, 2, 1)).clip(0, 1).astype(np.float32)
    directions = rng.normal(size=images.shape).astype(np.float32)
    found = perturbed(
        adversaries.Perturbation(epsilon, num_steps, step_size, random_start),
        images,
        None,
        lambda images, _: directions * (images - 0.5),
    )
    assert np.abs(found - images).max() <= epsilon + 1e-6
    assert found.min() >= 0 and found.max() <= 1


def test_what_is_outside_already_is_moved_no_further_out():
    images = np.float32([-3, -0.05, 0.5, 1.05, 9]).reshape(1, 5, 1, 1)
    for sign, expected in (
        (1, [-2.9, 0.05, 0.6, 1.05, 9]),
        (-1, [-3, -0.05, 0.4, 0.95, 8.9]),
    ):
        found = perturbed(
            adversaries.fgsm(0.1),
            images,
            None,
            lambda images, _, sign=sign: sign * tf.ones_like(images),
        )
        np.testing.assert_allclose(found.ravel(), expected, atol=1e-6)


def test_an_example_s_gradient_is_its_own():
    """Whatever batch it is in, and of every objective."""
    for objective, labels in (
        (objectives.SOFTMAX, LABELS),
        (objectives.Binary(), LABELS),
        (objectives.Labelwise(), np.stack([LABELS, 1 - LABELS], 1)),
    ):
        gradient = adversaries.loss_gradient(linear, objective.example_losses)
        attack = adversaries.pgd(0.1, 3, random_start=False)
        together = perturbed(attack, IMAGES, labels, gradient)
        for i in range(5):
            alone = perturbed(
                attack, IMAGES[i : i + 1], labels[i : i + 1], gradient
            )
            np.testing.assert_allclose(alone[0], together[i], atol=1e-6)
        assert np.abs(together - IMAGES).max() == pytest.approx(0.1, abs=1e-6)
