"""Which clients take part in a round: (round, seed) -> client ids.

And how long that takes them, on a clock that is simulated.
"""

import dataclasses
import functools
import hashlib
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import COUNT, Range, option, positive
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import (
    FIXED_COHORT,
    KNOWN_COHORTS,
    SEPARATED_ROUNDS,
    UNIFORM_DRAWS,
    UNIFORM_WEIGHTS,
)

# A sampler's builder gets (num_clients, clients_per_round), its options, and by
# name what else it has parameters for: `client_sizes`, examples of each client,
# and `rounds`, of the run. See `selection.samplers`. What privacy may assume of
# its cohorts is said in `privacy.participation`, and nothing of one that is not
# named there: it does not offer `KNOWN_COHORTS`.
SAMPLERS = Registry("sampling")


@SAMPLERS.entry(
    "poisson",
    "tff_cnn.selection.samplers:PoissonSampler",
    offers=[KNOWN_COHORTS],
)
@dataclasses.dataclass(frozen=True)
class Poisson:
    """Each client takes part independently of the others."""


@SAMPLERS.entry(
    "fixed_size",
    "tff_cnn.selection.samplers:FixedSizeSampler",
    offers=[KNOWN_COHORTS, FIXED_COHORT, UNIFORM_DRAWS],
)
@dataclasses.dataclass(frozen=True)
class FixedSize:
    """Equally many clients in each round, drawn without replacement."""


@SAMPLERS.entry(
    "shuffled_epochs",
    "tff_cnn.selection.samplers:ShuffledEpochs",
    offers=[KNOWN_COHORTS, SEPARATED_ROUNDS],
)
@dataclasses.dataclass(frozen=True)
class ShuffledEpochs:
    """Each client once in an epoch, in an order that is drawn anew."""

    min_separation: int | None = option(
        None,
        "Rounds between two participations of a client, at least; default: as "
        "many as an epoch has.",
        range=COUNT,
    )


@SAMPLERS.entry(
    "full",
    "tff_cnn.selection.samplers:FullParticipation",
    offers=[KNOWN_COHORTS, FIXED_COHORT, SEPARATED_ROUNDS],
    decides={"clients_per_round": "num_clients"},
)
@dataclasses.dataclass(frozen=True)
class FullParticipation:
    """All clients in every round."""


@SAMPLERS.entry("round_robin", "tff_cnn.selection.samplers:RoundRobin")
@dataclasses.dataclass(frozen=True)
class RoundRobin:
    """Clients in their order, cohort after cohort, again and again."""


@SAMPLERS.entry(
    "by_size",
    "tff_cnn.selection.by_size:BySize",
    needs={
        UNIFORM_WEIGHTS: "who has more examples is drawn more often already, "
        "and the mean would count that twice"
    },
)
@dataclasses.dataclass(frozen=True)
class BySize:
    """Without replacement, at rates proportional to clients' examples."""


_LOOKS_AT_LOSSES = (
    "who is chosen follows from losses on clients' own examples, which are "
    "sent without noise"
)


@SAMPLERS.entry(
    "power_of_choice",
    "tff_cnn.selection.by_size:PowerOfChoice",
    needs={
        UNIFORM_WEIGHTS: "candidates with more examples are drawn more often "
        "already, and the mean would count that twice"
    },
    refuses=dict.fromkeys(
        ("dp", "local_randomizer", "example_dp"), _LOOKS_AT_LOSSES
    ),
)
@dataclasses.dataclass(frozen=True)
class PowerOfChoice:
    """Of candidates those with the largest loss (Cho et al. 2022)."""

    candidates: int | None = option(
        None,
        "Clients that are drawn, by their sizes, and asked for the loss of the "
        "current model on their own examples; at least <clients_per_round> "
        "(default: twice as many, or all).",
        range=COUNT,
    )


@SAMPLERS.entry("available", "tff_cnn.selection.availability:Available")
@dataclasses.dataclass(frozen=True)
class Available:
    """At random among the clients that are available in the round."""

    rounds_per_day: int | None = option(
        None,
        "Rounds after which the clients' pattern repeats (default: 24; of "
        "<sampling.availability_trace>: it does not).",
        range=COUNT,
    )
    available_fraction: float | None = option(
        None,
        "Part of the day, in (0, 1], in which a client is available: once a "
        "day, from a time on that is drawn for each client (default: 0.5).",
        range=Range(1e-9, 1, "in (0, 1]: 0.5 is half of the day"),
    )
    availability_trace: str | None = option(
        None,
        "A CSV file that says who is available: columns client (from 0) and "
        "round (from 1), or client, first and last, which are rounds too.",
        material=False,  # The digest has it.
    )

    @functools.cached_property
    def digest(self) -> str | None:
        """SHA-256 of the trace; None where there is none."""
        if self.availability_trace is None:
            return None
        from tff_cnn.selection import availability

        return availability.digest(self.availability_trace)

    def check(self, config: Any) -> None:
        """Refuses two patterns at a time, and a trace that is not there."""
        if self.availability_trace is None:
            return
        if self.available_fraction is not None:
            raise UsageError(
                "<sampling.available_fraction>="
                f"{self.available_fraction} would be ignored: "
                "<sampling.availability_trace> says who is available; remove "
                "one of the two."
            )
        _ = self.digest


# How fast clients are. A speed's builder gets (num_clients, seed) and its
# options, and returns what has `seconds(client, round, examples)`: see
# `selection.speeds`.
SPEEDS = Registry("client speed")
_NOT_NEGATIVE = Range(0, 1e9, "from 0 to 1e+09")


@dataclasses.dataclass(frozen=True)
class _Speed:
    jitter: float = option(
        0.0,
        "Standard deviation of the logarithm of a factor, drawn anew for each "
        "client and round, that computing takes longer; 0 is none.",
        range=Range(0, 10, "from 0 to 10"),
    )
    network_seconds: float = option(
        0.0,
        "Simulated seconds that the model takes to a client and its update "
        "back, the same for all.",
        range=_NOT_NEGATIVE,
    )


@dataclasses.dataclass(frozen=True)
class _DrawnSpeed(_Speed):
    seconds_per_example: float = option(
        0.01,
        "Simulated seconds in which the median client computes a local pass "
        "over one example.",
        range=_NOT_NEGATIVE,
    )


@SPEEDS.entry("equal", "tff_cnn.selection.speeds:EqualSpeed")
@dataclasses.dataclass(frozen=True)
class EqualSpeed(_DrawnSpeed):
    """All clients compute equally fast."""


@SPEEDS.entry("half_normal", "tff_cnn.selection.speeds:HalfNormalSpeed")
@dataclasses.dataclass(frozen=True)
class HalfNormalSpeed(_DrawnSpeed):
    """Clients' times are half-normal: some are next to nothing."""


@SPEEDS.entry("log_normal", "tff_cnn.selection.speeds:LogNormalSpeed")
@dataclasses.dataclass(frozen=True)
class LogNormalSpeed(_DrawnSpeed):
    """The logarithms of clients' times are normal."""

    spread: float = option(
        1.0,
        "Standard deviation of the logarithm of clients' times; 0 is equal.",
        range=Range(0, 10, "from 0 to 10"),
    )


@SPEEDS.entry("pareto", "tff_cnn.selection.speeds:ParetoSpeed")
@dataclasses.dataclass(frozen=True)
class ParetoSpeed(_DrawnSpeed):
    """Clients' times have a heavy tail: a few take very long."""

    tail_index: float = option(
        1.5,
        "Of clients' times, positive: P(time > t) falls as t to minus this; "
        "the mean is finite above 1, the variance above 2.",
        range=positive(0.1, 100),
    )


@SPEEDS.entry("trace", "tff_cnn.selection.speeds:build_trace", argument="file")
@dataclasses.dataclass(frozen=True)
class TraceSpeed(_Speed):
    """Clients' times as a CSV file has them.

    Its columns are `client`, 0 to num_clients - 1, and `seconds_per_example`
    or `seconds`, which a client's round takes whatever its examples. Rows of
    clients beyond the run's are passed over.

    Attributes:
      file: The CSV file.
    """

    file: str = ""

    def __post_init__(self):
        if not isinstance(self.file, str) or not self.file:
            raise UsageError(
                f"<client_speed>=trace has the file {self.file!r}: name a CSV "
                "file."
            )

    def check(self, config: Any) -> None:
        """Refuses a file that no run has use for."""
        del config  # How many clients there are is known with the data.
        from tff_cnn.selection import speeds

        speeds.build_trace(0, 0, self.file)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the file."""
        from tff_cnn.selection import speeds  # NumPy takes a moment.

        return hashlib.sha256(speeds.read_bytes(self.file)).hexdigest()
