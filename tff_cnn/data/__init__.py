"""Where examples come from and how they are dealt over clients."""

from tff_cnn.core.registry import Registry

# NumPy draws a mixture in a time that grows with the inverse of its
# concentration; below this, clients have one class each anyway.
SMALLEST_DIRICHLET_ALPHA, LARGEST_DIRICHLET_ALPHA = 1e-4, 1e9

SOURCES = Registry(
    "dataset",
    {
        "digits": "tff_cnn.data.digits:load",
        "mnist": "tff_cnn.data.tfds_images:load_mnist",
    },
)

PARTITIONERS = Registry(
    "partition",
    {
        "iid": "tff_cnn.data.partitioners:iid",
        "shards": "tff_cnn.data.partitioners:shards",
        "dirichlet": "tff_cnn.data.partitioners:dirichlet",
    },
)
