"""Frozen descriptions of randomizers of a client's whole update.

Each client clips and noises its own update before it leaves the device, so
nobody needs to be trusted, the server least of all: the local model. One object
configures the randomizer (`tff_cnn.aggregators.local`) and yields the event.

What a client sends has noise relative to `clip`; replacing all of the client's
data moves it by 2 `clip` at most (from one end of the ball to the other), so
the noise over that sensitivity is half of `noise_multiplier`. The server knows
who takes part: no sampling amplifies, and a client pays for each round that it
is in, in the worst case for as many as the sampler allows.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import dp_accounting

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting, stages
from tff_cnn.privacy.ledger import describe
from tff_cnn.privacy.mechanism import check_positive
from tff_cnn.privacy.participation import Neighbours, Participation

_ADVERSARY = (
    "the server, which sees each client's noised updates and who takes part, "
    "and all who see less: other clients and the public"
)
_NEIGHBOURS = "replace all data of one client by any other data"
_COMBINATION = (
    "Noise that the server adds on top is post-processing for this stage and "
    "lowers no epsilon of it; its own epsilon is against those who do not see "
    "updates, for whom the smaller of the two holds where their neighbours "
    "agree, and the two are never added."
)


@dataclasses.dataclass(frozen=True)
class LocalRandomizer:
    """What randomizers have in common.

    Attributes:
      clip: Norm bound of a client's whole update, > 0.
      noise_multiplier: Scale of the noise on each coordinate over `clip`, > 0.
      participation: How often a client can take part. Its rate is not used.
    """

    clip: float
    noise_multiplier: float
    participation: Participation

    stage = "client_update"
    norm = ""  # Which norm is bounded.

    def __post_init__(self):
        check_positive("--local_update_clip", self.clip)
        check_positive("--local_update_noise", self.noise_multiplier)

    @property
    def scale(self) -> float:
        """Of the noise on each coordinate, in the update's own units."""
        return self.clip * self.noise_multiplier

    @property
    def stddev(self) -> float:
        """Standard deviation of that noise."""
        raise NotImplementedError

    def one_release(self) -> dp_accounting.DpEvent:
        """A single upload of one client."""
        raise NotImplementedError

    def event_after(self, rounds: int) -> dp_accounting.DpEvent:
        """What the first `rounds` >= 1 rounds cost one client at most."""
        return dp_accounting.SelfComposedDpEvent(
            self.one_release(), self.participation.max_participations(rounds)
        )


@dataclasses.dataclass(frozen=True)
class LocalGaussian(LocalRandomizer):
    """L2 clipping and N(0, (clip noise_multiplier)^2) on each coordinate.

    Dwork & Roth 2014, appendix A, at L2 sensitivity 2 `clip`.
    """

    norm = "L2"

    @property
    def stddev(self) -> float:
        return self.scale

    def one_release(self) -> dp_accounting.DpEvent:
        return dp_accounting.GaussianDpEvent(self.noise_multiplier / 2)


@dataclasses.dataclass(frozen=True)
class LocalLaplace(LocalRandomizer):
    """L1 clipping and Laplace noise of scale clip noise_multiplier.

    Dwork & Roth 2014, Theorem 3.6, at L1 sensitivity 2 `clip`: a round costs
    2 / noise_multiplier at delta 0. The accountants count one coordinate that
    moves by all of it, which is the worst there is: moving coordinates one
    after the other composes as group privacy does (Dong, Roth & Su 2022, Lemma
    A.5), and a single Laplace coordinate attains that.
    """

    norm = "L1"

    @property
    def stddev(self) -> float:
        return 2**0.5 * self.scale

    def one_release(self) -> dp_accounting.DpEvent:
        return dp_accounting.LaplaceDpEvent(self.noise_multiplier / 2)


@dataclasses.dataclass(frozen=True)
class LocalLedger:
    """What a run costs the clients at this stage; a function of its rounds.

    Attributes:
      mechanism: The very object that configured the randomizer.
      delta: In (0, 1).
    """

    mechanism: LocalRandomizer
    delta: float

    def epsilon_after(self, rounds: int) -> float:
        """Epsilon of the first `rounds` rounds; 0 before the start."""
        return _epsilon_after(self, rounds)

    def report(self, rounds: int) -> stages.StageReport:
        """The guarantee of the first `rounds` rounds."""
        participation = self.mechanism.participation
        most = participation.max_participations(rounds)
        return stages.report(
            _event_after(self.mechanism, rounds),
            Neighbours.REPLACE_ONE,
            self.delta,
            stage=self.mechanism.stage,
            unit="client",
            adversary=_ADVERSARY,
            neighbouring_relation=_NEIGHBOURS,
            sampling=(
                "not amplified, the server knows who takes part; a client is "
                f"in at most {most} of {rounds} rounds "
                f"(--sampling={participation.sampling})"
            ),
            mechanism=describe(self.mechanism),
            rounds=rounds,
            combination=_COMBINATION,
        )


def _event_after(mechanism: LocalRandomizer, rounds: int):
    if rounds == 0:
        return dp_accounting.NoOpDpEvent()
    return mechanism.event_after(rounds)


@functools.lru_cache(maxsize=1024)
def _epsilon_after(ledger: LocalLedger, rounds: int) -> float:
    event = _event_after(ledger.mechanism, rounds)
    return accounting.epsilon(event, ledger.delta, Neighbours.REPLACE_ONE)


def calibrate(
    make_randomizer: Callable[[float], LocalRandomizer],
    target_epsilon: float,
    delta: float,
    rounds: int,
) -> float:
    """The smallest noise multiplier (to 0.1 %) with epsilon <= target.

    Args:
      make_randomizer: noise multiplier -> randomizer.
      target_epsilon: Of all rounds together, > 0.
      delta: In (0, 1).
      rounds: Of the run, >= 1.

    Raises:
      UsageError: The target is not positive, or needs noise above 1e6.
    """
    if not target_epsilon > 0:
        raise UsageError(
            f"--local_update_epsilon={target_epsilon:g} must be positive."
        )

    def is_enough(noise: float) -> bool:
        event = make_randomizer(noise).event_after(rounds)
        spent = accounting.epsilon(event, delta, Neighbours.REPLACE_ONE)
        return spent <= target_epsilon

    low, high = 0.0, 1.0
    while not is_enough(high):
        low, high = high, 2 * high
        if high > 1e6:
            raise UsageError(
                f"--local_update_epsilon={target_epsilon:g} over {rounds} "
                "rounds is out of reach: use a larger epsilon or fewer rounds."
            )
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def from_description(fields: dict[str, Any]) -> LocalRandomizer:
    """Builds again what `ledger.describe` described.

    Raises:
      ValueError: It describes no randomizer.
    """
    fields = dict(fields)
    name = fields.pop("name")
    kinds = {kind.__name__: kind for kind in (LocalGaussian, LocalLaplace)}
    if name not in kinds:
        raise ValueError(f"no randomizer is called {name}.")
    participation = Participation(**fields.pop("participation"))
    return kinds[name](**fields, participation=participation)
