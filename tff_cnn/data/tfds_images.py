"""Image data sets read through TensorFlow Datasets."""

import contextlib
import logging
import os
from collections.abc import Iterator

import numpy as np

from tff_cnn.core import paths
from tff_cnn.core.errors import FailedRunError, UsageError
from tff_cnn.data.examples import Examples, Source

# Where TFDS has its data sets from; any answer says that there is a network.
_DOWNLOADS = "https://storage.googleapis.com"
_SECONDS_TO_ANSWER = 5


def load_mnist(data_dir: str | None = None, download: bool = False) -> Source:
    """MNIST (LeCun et al. 1998): 60,000 and 10,000 images of 28x28x1.

    Args:
      data_dir: Folder that holds `mnist/3.0.1` as TensorFlow Datasets prepares
        it; None is its default, `~/tensorflow_datasets`.
      download: Download and prepare the data there where it is missing.

    Raises:
      UsageError: The data is not there and `download` is false.
      FailedRunError: It could not be downloaded, or is damaged.
    """
    return _load("mnist", num_classes=10, data_dir=data_dir, download=download)


def _load(
    name: str, num_classes: int, data_dir: str | None, download: bool
) -> Source:
    import tensorflow_datasets as tfds

    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)
    with _explained(name, data_dir):
        builder = tfds.builder(name, data_dir=data_dir)
        is_prepared = builder.is_prepared()
    if not is_prepared:
        if not download:
            raise UsageError(
                f"data set {name!r} was not found in {builder.data_dir}: "
                "name the folder that holds it with <dataset.data_dir>, or add "
                "<dataset.download>."
            )
        _download(builder)
    with _explained(name, builder.data_dir):
        train, test = (_examples(builder, name) for name in ("train", "test"))
        for examples in (train, test):
            if not np.isin(examples.labels, np.arange(num_classes)).all():
                raise ValueError(f"labels are not below {num_classes}")
    return Source(name, train, test, num_classes=num_classes, pixel_max=255)


@contextlib.contextmanager
def _explained(name: str, folder: str | None) -> Iterator[None]:
    """Turns what TFDS raises of a prepared folder into a sentence."""
    try:
        yield
    except Exception as error:  # Of its readers and parsers, whatever it is.
        raise FailedRunError(
            f"data set {name!r} in {folder} cannot be read "
            f"({_first_line(error)}): delete that folder and repeat with "
            "<dataset.download>, or name another one with <dataset.data_dir>."
        ) from error


def _download(builder) -> None:
    paths.check_creatable_folder(builder.data_dir, "<dataset.data_dir>")
    # It reports each of ten attempts to reach a server.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        _check_network()
        builder.download_and_prepare()
    except Exception as error:  # TFDS raises whatever its transport raises.
        raise FailedRunError(
            f"data set {builder.name!r} could not be downloaded to "
            f"{builder.data_dir} ({_first_line(error)}): check the network, or "
            "name a prepared folder with <dataset.data_dir>."
        ) from error


def _check_network() -> None:
    """Raises at once where TFDS would try for minutes."""
    import requests

    requests.head(_DOWNLOADS, timeout=_SECONDS_TO_ANSWER)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or ["no reason given"]
    # TensorFlow begins with the node that found it.
    reason = lines[0].rpartition("}} ")[2].partition(" [Op:")[0]
    return f"{type(error).__name__}: {reason}"


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
