"""Frozen descriptions of randomizers of a client's whole update.

Each client clips and noises its own update before it leaves the device, so
nobody needs to be trusted, the server least of all: the local model. One object
configures the randomizer (`tff_cnn.aggregators.randomizers`) and yields the
event.

What a client sends has noise relative to `clip_norm`; replacing all of the
client's data moves it by 2 `clip_norm` at most (from one end of the ball to the
other), so the noise over that sensitivity is half of `noise_multiplier`. The
server knows who takes part: no sampling amplifies, and a client pays for each
round that it is in, in the worst case for as many as the sampler allows.
"""

import dataclasses

import dp_accounting

from tff_cnn.privacy.mechanism import check_positive
from tff_cnn.privacy.participation import Neighbours, Participation


@dataclasses.dataclass(frozen=True)
class LocalRandomizer:
    """What randomizers have in common.

    Attributes:
      clip_norm: Norm bound of a client's whole update, > 0.
      noise_multiplier: Scale of the noise on each coordinate over `clip_norm`;
        > 0.
      participation: How often a client can take part. Its rate is not used.
    """

    clip_norm: float
    noise_multiplier: float
    participation: Participation

    stage = "client update"  # Where noise enters; for the ledger.
    prefix = "local_update"  # See `privacy.Stage`.
    choice = "local_randomizer"
    unit = "client"
    adversary = (
        "the server, which sees each client's noised updates and who takes "
        "part, and all who see less: other clients and the public"
    )
    neighbouring_relation = "replace all data of one client by any other data"
    neighbours = Neighbours.REPLACE_ONE
    combination = (
        "Noise that the server adds on top is post-processing for this stage "
        "and lowers no epsilon of it; its own epsilon is against those who do "
        "not see updates, and the two are never added."
    )
    is_repeatable = False  # See `CentralMechanism`.
    norm = ""  # Which norm is bounded.

    def __post_init__(self):
        check_positive("<local_randomizer.clip_norm>", self.clip_norm)
        check_positive(
            "<local_randomizer.noise_multiplier>", self.noise_multiplier
        )

    @property
    def scale(self) -> float:
        """Scale of the noise on each coordinate, in the update's own units."""
        return self.clip_norm * self.noise_multiplier

    @property
    def stddev(self) -> float:
        """Standard deviation of the noise on each coordinate."""
        raise NotImplementedError

    def one_release(self) -> dp_accounting.DpEvent:
        """What a single upload costs the client."""
        raise NotImplementedError

    def events_after(self, rounds: int) -> tuple[dp_accounting.DpEvent, ...]:
        """What the first `rounds` >= 1 rounds cost one client at most."""
        times = self.participation.max_participations(rounds)
        return (dp_accounting.SelfComposedDpEvent(self.one_release(), times),)

    def sampling_statement(self) -> str:
        """The sampling assumption in words."""
        return (
            "not amplified, because the server knows who takes part; a client "
            "may take part as often as its sampler "
            f"({self.participation.sampling}) allows"
        )


@dataclasses.dataclass(frozen=True)
class LocalGaussian(LocalRandomizer):
    """L2 clipping and N(0, (clip_norm noise_multiplier)^2) on each coordinate.

    Dwork & Roth 2014, appendix A, at L2 sensitivity 2 `clip_norm`.
    """

    norm = "L2"

    @property
    def stddev(self) -> float:
        return self.scale

    def one_release(self) -> dp_accounting.DpEvent:
        return dp_accounting.GaussianDpEvent(self.noise_multiplier / 2)


@dataclasses.dataclass(frozen=True)
class LocalLaplace(LocalRandomizer):
    """L1 clipping and Laplace noise of scale clip_norm noise_multiplier.

    Dwork & Roth 2014, Theorem 3.6, at L1 sensitivity 2 `clip_norm`: a round
    costs 2 / noise_multiplier at delta 0. The accountants count one coordinate
    that moves by all of it, which is the worst there is: moving coordinates one
    after the other composes as group privacy does (Dong, Roth & Su 2022, Lemma
    A.5), and a single Laplace coordinate attains that.
    """

    norm = "L1"

    @property
    def stddev(self) -> float:
        return 2**0.5 * self.scale

    def one_release(self) -> dp_accounting.DpEvent:
        return dp_accounting.LaplaceDpEvent(self.noise_multiplier / 2)
