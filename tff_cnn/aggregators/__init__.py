"""TFF aggregation factories and the order in which they wrap one another."""

import dataclasses

from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import ONLY_A_SUM

# An aggregator's builder gets its options and returns a weighted TFF factory
# whose aggregate has the type of an update: what `composition` wraps. Clients
# of weight zero do not count; one that looks at single updates is best built
# as a `collected.CollectedFactory`.
AGGREGATORS = Registry("aggregator")


@AGGREGATORS.entry(
    "mean",
    "tff_cnn.aggregators.mean:build_mean",
    offers=[ONLY_A_SUM],
)
@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean of updates, weighted as clients are."""
