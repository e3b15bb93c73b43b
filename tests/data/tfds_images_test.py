"""The real loading code, on a small data set that the test prepares."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tff_cnn.core.errors import UsageError
from tff_cnn.data import tfds_images


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder that holds a tiny "mnist/3.0.1" in TFDS' own format."""
    folder = tmp_path_factory.mktemp("tfds")
    rng = np.random.default_rng(0)
    splits = {
        split: [
            {
                "image": rng.integers(0, 256, (28, 28, 1)).astype(np.uint8),
                "label": int(label),
            }
            for label in rng.integers(0, 10, size)
        ]
        for split, size in (("train", 30), ("test", 12))
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="mnist",
        version="3.0.1",
        data_dir=folder,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(28, 28, 1)),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
        ),
        split_datasets={k: list(enumerate(v)) for k, v in splits.items()},
        disable_shuffling=True,
    )
    return folder, splits


def test_reads_every_example_in_the_stored_order(prepared):
    folder, splits = prepared
    source = tfds_images.load_mnist(str(folder))
    for found, split in ((source.train, "train"), (source.test, "test")):
        assert found.labels.tolist() == [e["label"] for e in splits[split]]
        np.testing.assert_array_equal(
            found.images, [e["image"] for e in splits[split]]
        )
    assert source.num_classes == 10 and source.pixel_max == 255


def test_data_that_is_not_there_is_named_with_the_remedy(tmp_path):
    with pytest.raises(UsageError, match=f"{tmp_path}.*--data_dir.*--download"):
        tfds_images.load_mnist(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_failed_download_is_one_sentence(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("no route to host\nand more lines")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(UsageError, match="no route to host") as error:
        tfds_images.load_mnist(str(tmp_path), download=True)
    assert "\n" not in str(error.value)


def test_download_is_asked_for_only_when_needed(prepared, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("downloaded what is there")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    folder, _ = prepared
    assert len(tfds_images.load_mnist(str(folder), download=True).train) == 30
