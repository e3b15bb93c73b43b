"""TFF aggregation factories and the order in which they wrap one another."""

import dataclasses

from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import ONLY_A_SUM

# An aggregator's builder gets its options and returns a TFF factory, weighted
# or not, whose aggregate has the type of an update: what `composition` wraps.
AGGREGATORS = Registry("aggregator")


@AGGREGATORS.entry(
    "mean",
    "tff_cnn.aggregators.composition:build_mean",
    offers=[ONLY_A_SUM],
)
@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean of updates, weighted as clients are."""
