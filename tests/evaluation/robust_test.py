import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.data.examples import Examples
from tff_cnn.data.transforms import Preparation
from tff_cnn.evaluation.central import CentralEvaluation
from tff_cnn.evaluation.robust import RobustAccuracy
from tff_cnn.models import adversaries

SEED = np.array([1, 2], np.int64)
# Logits +- (mean of the image - 0.5), and images of known distance from it.
KERNEL = np.full((16, 2), [-1 / 16, 1 / 16], np.float32)
WEIGHTS = [KERNEL, np.float32([0.5, -0.5])]
MARGINS = np.float32([0.02, 0.08, 0.15, 0.25, -0.1])


@pytest.fixture(scope="module")
def model():
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((4, 4, 1)),
            tf.keras.layers.Dropout(0.9),  # Not where a model predicts.
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(2),
        ]
    )


@pytest.fixture(scope="module")
def examples():
    """Of class 1 where the margin is added, in tenths of the white."""
    labels = np.int32([1, 0, 1, 0, 1])
    levels = 0.5 + MARGINS * np.where(labels, 1, -1)
    images = np.broadcast_to(levels[:, None, None, None], (5, 4, 4, 1))
    return Examples((10 * images).astype(np.float32), labels)


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize(
    ("epsilon", "right"), [(0, 4), (0.05, 3), (0.1, 2), (0.2, 1), (0.3, 0)]
)
def test_what_is_nearer_to_the_border_than_epsilon_is_wrong(
    model, examples, epsilon, right, random_start
):
    evaluate = RobustAccuracy(
        model,
        examples,
        Preparation(10),
        adversaries.pgd(epsilon, 5, random_start=random_start),
        SEED,
        batch_size=2,
    )
    found = evaluate(WEIGHTS)
    assert found == {"robust_accuracy": pytest.approx(right / 5)}
    assert found == evaluate(WEIGHTS)
    before = model.get_weights()[0]
    assert not np.array_equal(before, KERNEL)  # The given weights are used.


def test_without_an_adversary_it_is_the_accuracy(model, examples):
    expected = CentralEvaluation(model, examples, Preparation(10))(WEIGHTS)
    evaluate = RobustAccuracy(
        model, examples, Preparation(10), adversaries.fgsm(0.0), SEED
    )
    assert evaluate(WEIGHTS)["robust_accuracy"] == expected["accuracy"]
