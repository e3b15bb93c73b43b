"""TFF aggregation factories and the order in which they wrap one another."""

import dataclasses

from tff_cnn.aggregators import order, secure_options
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
# A rule that hides single updates from the server has more facts:
#   hides      what a part that needs them is told
#   sum        what builds the unweighted factory of a sum, for central DP
#   sums_codes its builder takes a `secure_sum.IntegerCode` as `code`. Of codecs
#              only one whose entry has the fact `integer_code` can stand before
#              it: what builds that of the codec's options; and before this, or
#              alone, those with the fact `linear`, which decode a mean to the
#              mean of what they decode (`linear`)
AGGREGATORS = ChainRegistry("aggregator", order.check_order)

# What encodes the model on its way to the clients: a builder gets its options,
# and returns a `codecs.Codec` that draws nothing.
DOWNLINKS = ChainRegistry("downlink", order.check_order)


@AGGREGATORS.entry(
    "mean",
    "tff_cnn.aggregators.mean:build_mean",
    offers=[ONLY_A_SUM, PLAIN_MEAN],
)
@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean of updates, weighted as clients are."""


SecureSum = AGGREGATORS.entry(
    "secure_sum",
    "tff_cnn.aggregators.secure_sum:build_secure_sum",
    offers=[ONLY_A_SUM, PLAIN_MEAN],
    hides="the server must see single updates, which a secure sum hides",
    sum="tff_cnn.aggregators.secure_sum:build_record_sum",
    sums_codes=True,
)(secure_options.SecureSum)


# isort: split
from tff_cnn.aggregators.compression_entries import (  # noqa: E402 (Entries need the registry.)
    LowRank,
    OneBit,
    Quantize,
    RandomK,
    Rotate,
    TopK,
)

# isort: split
from tff_cnn.aggregators.downlink_entries import (  # noqa: E402
    Int8,
    Prune,
)

# isort: split
from tff_cnn.aggregators.robust_entries import (  # noqa: E402
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
    "DOWNLINKS",
    "Bulyan",
    "CenteredClipping",
    "GeometricMedian",
    "Int8",
    "Krum",
    "LowRank",
    "Mean",
    "Median",
    "MultiKrum",
    "NormBounding",
    "OneBit",
    "Prune",
    "Quantize",
    "RandomK",
    "Rotate",
    "SecureSum",
    "TopK",
    "TrimmedMean",
    "Zeroing",
]
