"""The entries of what encodes the model on its way to the clients.

They are codecs of `compression`, that draw nothing: all clients of a round get
the same model.
"""

import dataclasses
from typing import Any

from tff_cnn.aggregators import DOWNLINKS, order
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import Range, option


class _Synchronous:
    """Of rounds in which all clients are sent the same model."""

    def check(self, config: Any) -> None:
        """Refuses engines that send models in ways of their own."""
        algorithm = config.engine_of_its_own
        if algorithm:
            name = DOWNLINKS.entry_of(self).name
            raise UsageError(
                f"<downlink>={name} does not fit <algorithm>={algorithm}, "
                "which is not of rounds in which all clients are sent one "
                "model: use <downlink>=none, or another <algorithm>."
            )


@DOWNLINKS.entry(
    "prune",
    "tff_cnn.aggregators.downlink_codecs:build_prune",
    stage=order.NUMBERS,
)
@dataclasses.dataclass(frozen=True)
class Prune(_Synchronous):
    """The largest weights alone (Han et al. 2015)."""

    downlink_sparsity: float = option(
        0.5,
        "Share of the weights, the smallest ones, that are not sent: clients "
        "take them to be zero.",
        range=Range(0, 0.9999, "from 0 to 0.9999"),
    )


@DOWNLINKS.entry(
    "int8",
    "tff_cnn.aggregators.downlink_codecs:build_int8",
    stage=order.BITS,
)
@dataclasses.dataclass(frozen=True)
class Int8(_Synchronous):
    """Weights as integers of 8 bits, with a scale for each tensor."""
