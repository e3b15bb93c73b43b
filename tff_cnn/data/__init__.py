"""Where examples come from and how they are dealt over clients."""

import dataclasses

from tff_cnn.core.options import INT32, integers, option, positive
from tff_cnn.core.registry import Registry

# A source's builder gets its options and returns a `data.examples.Source`.
# Facts: `default_model`, the model that fits it.
SOURCES = Registry("dataset")


@SOURCES.entry("digits", "tff_cnn.data.digits:load", default_model="digits_cnn")
@dataclasses.dataclass(frozen=True)
class Digits:
    """Handwritten digits of scikit-learn: 1,797 images of 8x8, 10 classes."""


@SOURCES.entry(
    "mnist", "tff_cnn.data.tfds_images:load_mnist", default_model="mcmahan_cnn"
)
@dataclasses.dataclass(frozen=True)
class Mnist:
    """MNIST (LeCun et al. 1998): 70,000 images of 28x28, 10 classes."""

    data_dir: str | None = option(
        None,
        "Folder of TensorFlow Datasets (default: ~/tensorflow_datasets).",
        material=False,
    )
    download: bool = option(
        False, "Download the data set where it is missing.", material=False
    )


# A partitioner's builder gets (labels, num_clients, seed) and its options, and
# returns the indices of each client's examples.
PARTITIONERS = Registry("partition")


@PARTITIONERS.entry("iid", "tff_cnn.data.partitioners:iid")
@dataclasses.dataclass(frozen=True)
class Iid:
    """Examples dealt at random, equally many to each client."""


@PARTITIONERS.entry("shards", "tff_cnn.data.partitioners:shards")
@dataclasses.dataclass(frozen=True)
class Shards:
    """Shards of examples sorted by label (McMahan et al. 2017)."""

    shards_per_client: int = option(
        2, "Shards of sorted data that a client gets.", range=integers(1, INT32)
    )


# NumPy draws a mixture in a time that grows with the inverse of its
# concentration; below this, clients have one class each anyway.
SMALLEST_DIRICHLET_ALPHA, LARGEST_DIRICHLET_ALPHA = 1e-4, 1e9


@PARTITIONERS.entry("dirichlet", "tff_cnn.data.partitioners:dirichlet")
@dataclasses.dataclass(frozen=True)
class Dirichlet:
    """Each client's mixture of classes is drawn (Hsu et al. 2019)."""

    alpha: float = option(
        0.5,
        "Concentration of a client's class mixture, > 0.",
        flag="dirichlet_alpha",
        range=positive(SMALLEST_DIRICHLET_ALPHA, LARGEST_DIRICHLET_ALPHA),
    )
