"""TFF aggregation factories and the order in which they wrap one another."""

import dataclasses

from tff_cnn.aggregators import order
from tff_cnn.core.chains import ChainRegistry
from tff_cnn.core.traits import ONLY_A_SUM, PLAIN_MEAN

# What is chosen may be several, one behind the other (`order`). By the fact
# `stage`, a builder gets its options and returns
#   rule      a weighted TFF factory whose aggregate has the type of an update.
#             Clients of weight zero do not count; one that looks at single
#             updates is best built as a `collected.CollectedFactory`
#   bound     the same; it gets besides, first, the factory that it wraps
#   matrices, numbers, bits
#             a `codecs.Codec`
AGGREGATORS = ChainRegistry("aggregator", order.check_order)


@AGGREGATORS.entry(
    "mean",
    "tff_cnn.aggregators.mean:build_mean",
    offers=[ONLY_A_SUM, PLAIN_MEAN],
)
@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean of updates, weighted as clients are."""


from tff_cnn.aggregators.robust_entries import (  # noqa: E402 (Entries need the registry.)
    Bulyan,
    CenteredClipping,
    GeometricMedian,
    Krum,
    Median,
    MultiKrum,
    NormBounding,
    TrimmedMean,
    Zeroing,
)

__all__ = [
    "AGGREGATORS",
    "Bulyan",
    "CenteredClipping",
    "GeometricMedian",
    "Krum",
    "Mean",
    "Median",
    "MultiKrum",
    "NormBounding",
    "TrimmedMean",
    "Zeroing",
]
