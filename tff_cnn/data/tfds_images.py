"""Image data sets read through TensorFlow Datasets."""

import os

import numpy as np

from tff_cnn.core.errors import UsageError
from tff_cnn.data.examples import Examples, Source


def load_mnist(data_dir: str | None = None, download: bool = False) -> Source:
    """MNIST (LeCun et al. 1998): 60,000 and 10,000 images of 28x28x1.

    Args:
      data_dir: Folder that holds `mnist/3.0.1` as TensorFlow Datasets prepares
        it; None is its default, `~/tensorflow_datasets`.
      download: Download and prepare the data there where it is missing.

    Raises:
      UsageError: The data is not there and `download` is false, or could not
        be downloaded.
    """
    return _load("mnist", num_classes=10, data_dir=data_dir, download=download)


def _load(
    name: str, num_classes: int, data_dir: str | None, download: bool
) -> Source:
    import tensorflow_datasets as tfds

    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)
    builder = tfds.builder(name, data_dir=data_dir)
    if not builder.is_prepared():
        if not download:
            raise UsageError(
                f"data set {name!r} was not found in {builder.data_dir}: "
                "name the folder that holds it with --data_dir, or add "
                "--download."
            )
        _download(builder)
    return Source(
        name=name,
        train=_examples(builder, "train"),
        test=_examples(builder, "test"),
        num_classes=num_classes,
        pixel_max=255,
    )


def _download(builder) -> None:
    try:
        builder.download_and_prepare()
    except Exception as error:  # TFDS raises whatever its transport raises.
        raise UsageError(
            f"data set {builder.name!r} could not be downloaded to "
            f"{builder.data_dir} ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}"
            "): check the network, or name a prepared folder with --data_dir."
        ) from error


def _examples(builder, split: str) -> Examples:
    """One split in the order in which it is stored."""
    import tensorflow_datasets as tfds

    read_config = tfds.ReadConfig(
        shuffle_seed=None,
        interleave_cycle_length=1,
        try_autocache=False,
    )
    dataset = builder.as_dataset(
        split=split,
        batch_size=-1,
        shuffle_files=False,
        read_config=read_config,
    )
    features = tfds.as_numpy(dataset)
    return Examples(features["image"], features["label"].astype(np.int32))
