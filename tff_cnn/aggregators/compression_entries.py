"""The entries of codecs: what clients send in the place of their updates.

The server decodes each update by itself, and then goes on as without codecs: so
they offer `ONLY_A_SUM`, for central noise bounds what was decoded.
"""

import dataclasses
import functools
from typing import Any

from tff_cnn.aggregators import AGGREGATORS, order
from tff_cnn.core.chains import parts_of
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import Condition, Range, integers, option
from tff_cnn.core.registry import Entry
from tff_cnn.core.traits import ONLY_A_SUM, SINGLE_UPDATES

_codec = functools.partial(
    AGGREGATORS.entry,
    offers=[ONLY_A_SUM],
    needs={
        SINGLE_UPDATES: "the server decodes each update by itself, and of a "
        "secure sum it has none: the integers that are summed are what travels"
    },
    refuses={
        "local_randomizer": "its noise is calibrated to the norm of the whole "
        "update, and a code spends its bits on that noise, which is larger "
        "than what it hides"
    },
)


@dataclasses.dataclass(frozen=True)
class _Codec:
    """Options of all codecs."""

    def check(self, config: Any) -> None:
        """Refuses algorithms whose rows would not tell what is sent."""
        entry = _algorithm(config)
        max_staleness = getattr(config.algorithm, "max_staleness", None)
        if max_staleness is not None:
            raise UsageError(
                f"<algorithm.max_staleness>={max_staleness} does not go with "
                f"<aggregator>={AGGREGATORS.entry_of(self).name}: updates that "
                "are dropped are not computed, and what their codes would take "
                "is not known; leave one of the two out."
            )
        if not entry.facts.get("measures_uploads", True):
            raise UsageError(
                f"<aggregator>={AGGREGATORS.entry_of(self).name} does not go "
                f"with <algorithm>={entry.name}: what clients send to an edge "
                "is not measured there, and bytes would be told that nobody "
                "sends; use <aggregator>=mean or another algorithm."
            )


@dataclasses.dataclass(frozen=True)
class _FedBack(_Codec):
    """Options of codecs that leave something out."""

    error_feedback: bool = option(
        False,
        "Clients keep what their codes leave out, and add it to their next "
        "update (Seide et al. 2014, Karimireddy et al. 2019).",
        refuses={
            "dp": "what a client has left out of an update is in its next one, "
            "for which nothing accounts"
        },
    )

    def check(self, config: Any) -> None:
        """Refuses error feedback that nothing could come of."""
        parts = parts_of(config.aggregator)
        if any(
            getattr(part, "error_feedback", self.error_feedback)
            != self.error_feedback
            for part in parts
        ):
            raise UsageError(
                "<aggregator.error_feedback> is set of one codec and not of "
                "another, but what is fed back is what all of them leave out: "
                "set it of all, or of none."
            )
        if self.error_feedback:
            _check_is_unbounded(parts)
            _check_keeps_states(config)
        super().check(config)


def _algorithm(config: Any) -> Entry:
    return next(e for field, _, e in config.chosen() if field == "algorithm")


def _check_is_unbounded(parts: tuple) -> None:
    for entry in map(AGGREGATORS.entry_of, parts):
        if order.stage_of(entry) == order.BOUND:
            raise UsageError(
                "<aggregator.error_feedback> does not go with "
                f"<aggregator>={entry.name}: what is fed back is added behind "
                "the bound, and what is sent would not be bounded; leave one "
                "of the two out."
            )


def _check_keeps_states(config: Any) -> None:
    algorithm = config.engine_of_its_own
    if algorithm:
        raise UsageError(
            "<aggregator.error_feedback> does not go with "
            f"<algorithm>={algorithm}: error feedback with clients that keep "
            "no state would forget what it is to feed back; use "
            "<aggregator.error_feedback>=false, or an algorithm of synchronous "
            "rounds, as fedavg."
        )


def _check_is_rotated(options: Any, config: Any, path: str) -> None:
    """Refuses what is only right for numbers that a rotation has made."""
    parts = parts_of(config.aggregator)
    before = parts[: parts.index(options)][-1:]
    if not any(isinstance(part, Rotate) for part in before):
        raise UsageError(
            f"<aggregator.{path}>={getattr(options, path)} is for numbers that "
            "are nearly normal, which a rotation makes of an update: put "
            "rotate before it, as <aggregator>=rotate+"
            f"{AGGREGATORS.entry_of(options).name}."
        )


def _fraction(default: float, help: str) -> Any:
    allowed = Range(1e-9, 1, "in (0, 1]: 0.01 is a hundredth")
    return option(default, help, range=allowed)


@_codec(
    "quantize",
    "tff_cnn.aggregators.compression.quantize:build_quantize",
    stage=order.BITS,
    integer_code="tff_cnn.aggregators.compression.quantize:integer_code",
)
@dataclasses.dataclass(frozen=True)
class Quantize(_FedBack):
    """A few bits of each number (Alistarh et al. 2017)."""

    quantize_bits: int = option(
        8,
        "Bits of each number at most, from 2 to 16; what is mostly zero takes "
        "less.",
        range=Range(2, 16, "from 2 to 16"),
    )
    quantize_levels: str = option(
        "uniform",
        "Which numbers they stand for: uniform, equally far from one another; "
        "or, behind rotate and of 8 bits at most, eden, those that err least "
        "for normal numbers (Vargaftik et al. 2022).",
        choices={"uniform": (), "eden": ()},
        neutral="uniform",
    )
    quantize_rounding: str = option(
        "stochastic",
        "stochastic, whose mean is the number, or nearest, which errs less.",
        choices={"stochastic": (), "nearest": ()},
        applies=Condition(
            lambda config: config.at("aggregator.quantize_levels") != "eden",
            "<quantize_levels>=uniform",
            "aggregator",
        ),
        neutral="stochastic",
    )

    def check(self, config: Any) -> None:
        """Refuses EDEN's levels of numbers that are not normal."""
        super().check(config)
        if self.quantize_levels != "eden":
            return
        _check_is_rotated(self, config, "quantize_levels")
        if self.quantize_bits > 8:
            raise UsageError(
                f"<aggregator.quantize_bits>={self.quantize_bits} is more than "
                "<aggregator.quantize_levels>=eden has levels for: use 8 or "
                "less, or uniform levels."
            )


@_codec(
    "one_bit",
    "tff_cnn.aggregators.compression.one_bit:build_one_bit",
    stage=order.BITS,
)
@dataclasses.dataclass(frozen=True)
class OneBit(_FedBack):
    """Signs, and a scale for each tensor (Seide et al. 2014)."""

    one_bit_scale: str = option(
        "mean",
        "What signs are multiplied by: mean, of the absolute values; or, "
        "behind rotate, drive, which is right in the mean (Vargaftik et al. "
        "2021).",
        choices={"mean": (), "drive": ()},
        neutral="mean",
    )

    def check(self, config: Any) -> None:
        """Refuses DRIVE's scale of numbers that are not normal."""
        super().check(config)
        if self.one_bit_scale == "drive":
            _check_is_rotated(self, config, "one_bit_scale")


@_codec(
    "top_k",
    "tff_cnn.aggregators.compression.top_k:build_top_k",
    stage=order.NUMBERS,
)
@dataclasses.dataclass(frozen=True)
class TopK(_FedBack):
    """The largest numbers, and where they are (Aji & Heafield 2017)."""

    top_k_fraction: float = _fraction(
        0.01, "Share of the numbers, the largest, that is sent, in (0, 1]."
    )


@_codec(
    "random_k",
    "tff_cnn.aggregators.compression.random_k:build_random_k",
    stage=order.NUMBERS,
)
@dataclasses.dataclass(frozen=True)
class RandomK(_FedBack):
    """Numbers that are drawn at random (Konecny et al. 2016)."""

    random_k_fraction: float = _fraction(
        0.1, "Share of the numbers, drawn by each client, that is sent."
    )


@_codec(
    "rotate",
    "tff_cnn.aggregators.compression.rotate:build_rotate",
    stage=order.NUMBERS,
    linear=True,
)
@dataclasses.dataclass(frozen=True)
class Rotate(_Codec):
    """A random rotation, for the codec behind it (Suresh et al. 2017)."""


@_codec(
    "low_rank",
    "tff_cnn.aggregators.compression.low_rank:build_low_rank",
    stage=order.MATRICES,
)
@dataclasses.dataclass(frozen=True)
class LowRank(_FedBack):
    """Matrices as factors of low rank (Vogels et al. 2019)."""

    matrix_rank: int = option(
        4,
        "Rank of what is sent of each matrix; those that are no larger than "
        "their factors are sent whole.",
        range=integers(1, 64),
    )
