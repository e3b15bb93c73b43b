"""The entries of rules and bounds that withstand dishonest clients."""

import dataclasses
from typing import Any

from tff_cnn.aggregators import AGGREGATORS
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import (
    COUNT,
    INT32,
    Condition,
    Range,
    integers,
    option,
    positive,
)
from tff_cnn.core.traits import ONLY_A_SUM, UNIFORM_WEIGHTS

_BY_NUMBER = (
    "how many clients it withstands is their number, and one of a great weight "
    "would be as good as many"
)
_QUANTILE = Range(0, 1, "above 0 and below 1; 0 is none", is_open=True, also=0)


@AGGREGATORS.entry(
    "median",
    "tff_cnn.aggregators.coordinatewise:build_median",
    needs={UNIFORM_WEIGHTS: _BY_NUMBER},
)
@dataclasses.dataclass(frozen=True)
class Median:
    """The median of each coordinate (Yin et al. 2018)."""


@AGGREGATORS.entry(
    "trimmed_mean",
    "tff_cnn.aggregators.coordinatewise:build_trimmed_mean",
    needs={UNIFORM_WEIGHTS: _BY_NUMBER},
)
@dataclasses.dataclass(frozen=True)
class TrimmedMean:
    """The mean of each coordinate's middle values (Yin et al. 2018)."""

    trim_fraction: float = option(
        0.2,
        "Share of the clients that is left out on each side, at least 0 and "
        "below 1/2: as many as are not honest; 0 is the mean.",
        range=Range(0, 0.499, "at least 0 and at most 0.499"),
    )


@AGGREGATORS.entry(
    "geometric_median",
    "tff_cnn.aggregators.geometric_median:build_geometric_median",
)
@dataclasses.dataclass(frozen=True)
class GeometricMedian:
    """The point nearest to all updates (RFA, Pillutla et al. 2022).

    Clients count by their weights, as in the mean.
    """

    weiszfeld_steps: int = option(
        10,
        "Steps of the smoothed Weiszfeld algorithm, R, each a pass over all "
        "updates.",
        range=integers(1, INT32),
    )
    weiszfeld_smoothing: float = option(
        1e-6,
        "Norm below which a client's distance is taken for this, nu, > 0.",
        range=positive(),
    )


@dataclasses.dataclass(frozen=True)
class _OnDistances:
    """Options of the rules on distances; f is `assumed_attackers`."""

    assumed_attackers: int | None = option(
        None,
        "Clients of a round that may send anything, f: krum and multi_krum "
        "need 2 f + 3 clients in it, bulyan 4 f + 3, and a round that has "
        "fewer left makes no update (default: as many as each round's clients "
        "allow).",
        range=integers(0, 10**6),
    )

    def check(self, config: Any) -> None:
        """Raises `UsageError` where no round has as many clients as f needs."""
        attackers = self.assumed_attackers
        if not attackers:
            return
        entry = AGGREGATORS.entry_of(self)
        factor = entry.facts["clients_per_attacker"]
        edges = getattr(config.algorithm, "num_edges", 1)
        clients = config.clients_per_round // edges
        if clients < factor * attackers + 3:
            least = (factor * attackers + 3) * edges
            of_edges = f" over {edges} edges" if edges > 1 else ""
            raise UsageError(
                f"<aggregator.assumed_attackers>={attackers} needs {factor} f "
                f"+ 3 clients for <aggregator>={entry.name}, and "
                f"<clients_per_round>={config.clients_per_round}{of_edges} "
                f"are fewer: use at least {least}, or fewer attackers."
            )


@AGGREGATORS.entry(
    "krum",
    "tff_cnn.aggregators.krum:build_krum",
    needs={UNIFORM_WEIGHTS: _BY_NUMBER},
    clients_per_attacker=2,
)
@dataclasses.dataclass(frozen=True)
class Krum(_OnDistances):
    """The update that is nearest to its neighbours (Blanchard et al. 2017)."""


@AGGREGATORS.entry(
    "multi_krum",
    "tff_cnn.aggregators.krum:build_multi_krum",
    needs={UNIFORM_WEIGHTS: _BY_NUMBER},
    clients_per_attacker=2,
)
@dataclasses.dataclass(frozen=True)
class MultiKrum(_OnDistances):
    """The mean of the updates that Krum ranks first (Blanchard et al. 2017)."""

    krum_selected: int | None = option(
        None,
        "How many, m; all where a round has fewer (default: the clients that "
        "are left without <aggregator.assumed_attackers>).",
        range=COUNT,
    )


@AGGREGATORS.entry(
    "bulyan",
    "tff_cnn.aggregators.krum:build_bulyan",
    needs={UNIFORM_WEIGHTS: _BY_NUMBER},
    clients_per_attacker=4,
)
@dataclasses.dataclass(frozen=True)
class Bulyan(_OnDistances):
    """Around the median of what Krum takes (El Mhamdi et al. 2018)."""


@AGGREGATORS.entry(
    "centered_clipping",
    "tff_cnn.aggregators.centered_clipping:CenteredClippingFactory",
    needs={UNIFORM_WEIGHTS: _BY_NUMBER},
)
@dataclasses.dataclass(frozen=True)
class CenteredClipping:
    """A bounded way from the last aggregate (Karimireddy et al. 2021)."""

    clip_radius: float = option(
        10.0,
        "L2 distance to the last aggregate that a client's update is clipped "
        "to, tau, > 0.",
        range=positive(),
    )
    clip_steps: int = option(
        1,
        "How often the centre is moved in a round, L; more than once needs "
        "memory for all updates of a round.",
        range=integers(1, 1000),
    )


_NORMS_ARE_RAW = (
    "a bound that follows a quantile of raw norms releases them without noise"
)


def _with(option_name: str) -> Condition:
    return Condition(
        lambda config: bool(getattr(config.aggregator, option_name)),
        f"an <aggregator.{option_name}>",
        "aggregator",
    )


@AGGREGATORS.entry(
    "norm_bounding",
    "tff_cnn.aggregators.bounds:build_norm_bounding",
    offers=[ONLY_A_SUM],
    stage="bound",
)
@dataclasses.dataclass(frozen=True)
class NormBounding:
    """Updates of a bounded L2 norm (Sun et al. 2019)."""

    bound_norm: float = option(
        1.0,
        "L2 norm that an update is clipped to; with a quantile that of the "
        "first round.",
        range=positive(),
    )
    bound_quantile: float | None = option(
        None,
        "Quantile of the clients' norms, in (0, 1), that the bound follows "
        "(default, or 0: it stays).",
        range=_QUANTILE,
        refuses={"dp": _NORMS_ARE_RAW},
    )
    bound_learning_rate: float = option(
        0.2,
        "How fast it follows: the step in the bound's logarithm, by how far "
        "the share of clients below it is off.",
        range=positive(1e-6, 100),
        applies=_with("bound_quantile"),
        neutral=0.2,
    )


@AGGREGATORS.entry(
    "zeroing",
    "tff_cnn.aggregators.bounds:build_zeroing",
    offers=[ONLY_A_SUM],
    stage="bound",
)
@dataclasses.dataclass(frozen=True)
class Zeroing:
    """Clients with a very large entry are left out."""

    zeroing_norm: float = option(
        10.0,
        "Largest absolute value of an entry with which a client counts; with "
        "a quantile that of the first round.",
        range=positive(),
    )
    zeroing_quantile: float | None = option(
        None,
        "Quantile of the clients' largest entries, in (0, 1), that the bound "
        "follows, multiplied (default, or 0: it stays).",
        range=_QUANTILE,
        refuses={"dp": _NORMS_ARE_RAW},
    )
    zeroing_multiplier: float = option(
        2.0,
        "What the quantile is multiplied with, >= 1.",
        range=Range(1, 1e6, "at least 1 and at most 1e6"),
        applies=_with("zeroing_quantile"),
        neutral=2.0,
    )
    zeroing_learning_rate: float = option(
        2.3,
        "How fast it follows, as of norm_bounding.",
        range=positive(1e-6, 100),
        applies=_with("zeroing_quantile"),
        neutral=2.3,
    )
