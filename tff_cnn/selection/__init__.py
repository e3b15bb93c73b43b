"""Which clients take part in a round: (round, seed) -> client ids."""

import dataclasses

from tff_cnn.core.options import COUNT, option
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import (
    FIXED_COHORT,
    KNOWN_COHORTS,
    SEPARATED_ROUNDS,
)

# A sampler's builder gets (num_clients, clients_per_round) and its options:
# see `selection.samplers`. What privacy may assume of its cohorts is said in
# `privacy.participation`, and nothing of one that is not named there: it does
# not offer `KNOWN_COHORTS`.
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
