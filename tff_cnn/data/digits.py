"""The handwritten digits that scikit-learn carries (UCI Optical Digits).

1,797 images of 8x8, pixels in 0..16, ten classes; no download.
"""

import numpy as np

from tff_cnn.data.examples import Examples, Source

# The split is part of the data set: it does not depend on a run's seed, so
# that every run is tested on the same images.
_NUM_TEST = 360
_SPLIT_SEED = 0


def load() -> Source:
    """Loads the digits: 1,437 for training, 360 for testing, stratified."""
    # Imported here because scikit-learn takes a second to import.
    from sklearn import datasets, model_selection

    bunch = datasets.load_digits()
    images = bunch.images.astype(np.uint8)[..., np.newaxis]
    labels = bunch.target.astype(np.int32)
    train, test = model_selection.train_test_split(
        np.arange(len(labels)),
        test_size=_NUM_TEST,
        random_state=_SPLIT_SEED,
        stratify=labels,
    )
    examples = Examples(images, labels)
    return Source(
        name="digits",
        train=examples.take(train),
        test=examples.take(test),
        num_classes=10,
        pixel_max=16,
    )
