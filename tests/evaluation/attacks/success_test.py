import numpy as np

from tff_cnn.data.examples import Examples
from tff_cnn.evaluation.attacks import success
from tff_cnn.evaluation.attacks.attack import Success


def test_examples_that_count_are_shown_as_the_attacker_wants():
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    labels = np.array([0, 1, 2, 1, 0], np.int32)
    wanted = Success(
        "x",
        lambda images: images + 100,
        lambda labels: np.where(labels == 1, -1, 9).astype(np.int32),
    )
    found = success.shown(wanted, Examples(images, labels))
    assert len(found) == 3 and found.image_shape == (1, 1, 1)
    every = found.take(np.arange(3))
    np.testing.assert_array_equal(every.images.ravel(), [100, 102, 104])
    np.testing.assert_array_equal(every.labels, [9, 9, 9])
    assert found.take(np.array([2, 0])).images.ravel().tolist() == [104, 100]
