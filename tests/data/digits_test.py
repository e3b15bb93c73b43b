import numpy as np


def test_split_is_whole_stratified_and_disjoint(digits):
    assert digits.train.images.shape == (1437, 8, 8, 1)
    assert digits.test.images.shape == (360, 8, 8, 1)
    assert digits.image_shape == (8, 8, 1)
    assert digits.train.images.max() == digits.pixel_max == 16
    assert np.bincount(digits.test.labels).min() >= 34
    rows = np.concatenate([digits.train.images, digits.test.images])
    assert len(np.unique(rows.reshape(1797, -1), axis=0)) == 1797


def test_split_never_changes(digits):
    # Recorded results compare test accuracies on these very images.
    assert digits.test.labels[:12].tolist() == [
        7,
        6,
        3,
        7,
        7,
        3,
        2,
        8,
        9,
        3,
        2,
        6,
    ]
    assert int(digits.test.images.sum(dtype=np.int64)) == 112350
