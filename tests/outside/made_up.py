"""Components as a user registers them: entries alone, free of TensorFlow.

Of the kinds that BUILD_NOTES.md has no recipe for; what builds them is in
`tests.outside.building`.
"""

import dataclasses

from tff_cnn.aggregators import AGGREGATORS
from tff_cnn.algorithms import OPTIMIZERS
from tff_cnn.core.options import COUNT, integers, option, positive
from tff_cnn.core.traits import SEPARATED_ROUNDS, UNIFORM_WEIGHTS
from tff_cnn.data import PARTITIONERS
from tff_cnn.models import MODELS
from tff_cnn.privacy import (
    EXAMPLE_MECHANISMS,
    LOCAL_RANDOMIZERS,
    MECHANISMS,
    DpSgd,
    FixedClip,
    LocalGaussian,
)
from tff_cnn.runtime import RUNTIMES, InProcess
from tff_cnn.selection import SAMPLERS

_BUILDING = "tests.outside.building"


@AGGREGATORS.entry("unbuilt", "nowhere:build")
@dataclasses.dataclass(frozen=True)
class Unbuilt:
    """Named, but never built: it offers no trait."""


@PARTITIONERS.entry("striped", f"{_BUILDING}:striped")
@dataclasses.dataclass(frozen=True)
class Striped:
    """Each client gets every so-manieth example, shifted."""

    stripe_shift: int = option(
        0, "Of the first client, >= 0.", range=integers(0)
    )


@MODELS.entry("linear", f"{_BUILDING}:linear")
@dataclasses.dataclass(frozen=True)
class Linear:
    """Softmax regression on the brightest pixels."""

    pool: int = option(2, "Pixels that become one.", range=integers(1, 8))


@OPTIMIZERS.entry("fixed_adagrad", f"{_BUILDING}:build_adagrad")
@dataclasses.dataclass(frozen=True)
class FixedAdagrad:
    """Adagrad (Duchi et al. 2011), which has a rate of its own."""

    start: float = option(
        0.1, "First preconditioner of {role}, > 0.", range=positive()
    )


@SAMPLERS.entry("rotating", f"{_BUILDING}:RotatingSampler")
@dataclasses.dataclass(frozen=True)
class Rotating:
    """One client after the other; nothing accounts for it."""

    stride: int = option(1, "Clients that a round moves on.", range=COUNT)


@RUNTIMES.entry(
    "told",
    f"{_BUILDING}:open_told",
    prepare="tff_cnn.runtime.in_process.schedule:prepare",
)
@dataclasses.dataclass(frozen=True)
class Told(InProcess):
    """The in-process runtime, which says that it was opened."""

    saying: str = option("open", "What it says.", material=False)

    def opening(self):
        return {**super().opening(), "saying": self.saying}


@MECHANISMS.entry(
    "concentrated",
    f"{_BUILDING}:ConcentratedGaussian",
    aggregation=f"{_BUILDING}:concentrated_mean",
    sampling="full",
    needs={
        UNIFORM_WEIGHTS: "one client's weight would be unbounded",
        SEPARATED_ROUNDS: "its event counts a client's rounds one by one",
    },
)
@dataclasses.dataclass(frozen=True)
class Concentrated(FixedClip):
    """A fixed clip, counted by concentrated privacy with a reserve."""

    clip_norm: float = option(
        0.7, "Clip that has another default.", range=positive(0.1, 10)
    )
    reserve: float = option(
        1.5, "By how much more is counted, >= 1.", range=positive(1, 10)
    )


@LOCAL_RANDOMIZERS.entry(
    "thickened",
    f"{_BUILDING}:ThickenedGaussian",
    randomizer="tff_cnn.aggregators.randomizers:GAUSSIAN",
    needs={UNIFORM_WEIGHTS: "a weight would tell"},
)
@dataclasses.dataclass(frozen=True)
class Thickened(LocalGaussian):
    """Gaussian noise that is multiplied once more."""

    thickness: float = option(
        2.0, "What noise is multiplied with, >= 1.", range=positive(1, 10)
    )


@EXAMPLE_MECHANISMS.entry(
    "frugal_dp_sgd",
    f"{_BUILDING}:FrugalDpSgd",
    gradients=f"{_BUILDING}:frugal_gradients",
    needs={UNIFORM_WEIGHTS: "a weight would tell"},
)
@dataclasses.dataclass(frozen=True)
class Frugal(DpSgd):
    """DP-SGD with gradients that are halved, or otherwise scaled."""

    gradient_share: float = option(
        0.5, "What gradients are multiplied with, > 0.", range=positive(0.01, 1)
    )
