"""Which clients take part in a round: (round, seed) -> client ids."""

import dataclasses
import functools
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import COUNT, Range, option
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import (
    FIXED_COHORT,
    KNOWN_COHORTS,
    SEPARATED_ROUNDS,
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
    offers=[KNOWN_COHORTS, FIXED_COHORT],
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
