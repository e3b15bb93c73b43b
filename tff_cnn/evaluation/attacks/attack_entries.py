"""The entries of attacks."""

import dataclasses
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import Range, integers, option, positive
from tff_cnn.evaluation.attacks import ATTACKS
from tff_cnn.evaluation.attacks.some_rounds import SomeRounds

_AUDITS = {
    "dp.audit_canaries": "an audit measures a mechanism by clients of its own, "
    "and attackers beside them would be measured too",
}
_ON_UPDATES = {
    **_AUDITS,
    "local_randomizer": "clients do that themselves, and attackers who send "
    "what they like would leave it out",
}
_PLACE = "tff_cnn.evaluation.attacks"


class _OnUpdates:
    """Of attacks that send something else than what was trained."""

    def check(self, config: Any) -> None:
        """Raises `UsageError` where updates go a way that no attack is on."""
        algorithm = config.engine_of_its_own
        if algorithm:
            name = ATTACKS.entry_of(self).name
            raise UsageError(
                f"<attack>={name} does not fit <algorithm>={algorithm}: it "
                "changes the updates of synchronous rounds; use another "
                "<algorithm>, or an attack on data."
            )


def _chosen(config: Any, choice: str) -> Any:
    """The entry of what was chosen; registries of algorithms are elsewhere."""
    return next(entry for name, _, entry in config.chosen() if name == choice)


@ATTACKS.entry(
    "sign_flip", f"{_PLACE}.scaled:build_sign_flip", refuses=_ON_UPDATES
)
@dataclasses.dataclass(frozen=True)
class SignFlip(_OnUpdates):
    """Attackers send the opposite of their updates (Li et al. 2019)."""

    attack_scale: float = option(
        1.0,
        "What the attackers' updates are multiplied with, beside -1, > 0.",
        range=positive(),
    )


@ATTACKS.entry(
    "label_flip", f"{_PLACE}.label_flip:build_label_flip", refuses=_AUDITS
)
@dataclasses.dataclass(frozen=True)
class LabelFlip:
    """Attackers train on labels that are wrong (Yin et al. 2018)."""

    flip_from: int | None = option(
        None,
        "The label that attackers change to <attack.flip_to> (default: all, y "
        "to K - 1 - y of K classes).",
        range=integers(0),
    )
    flip_to: int | None = option(
        None,
        "The label that they make of <attack.flip_from>.",
        range=integers(0),
    )

    def check(self, config: Any) -> None:
        """Refuses a flip that is half said, or none."""
        del config
        pair = (self.flip_from, self.flip_to)
        for name, other, label, wanted in (
            ("flip_from", "flip_to", *pair),
            ("flip_to", "flip_from", *reversed(pair)),
        ):
            if label is not None and wanted is None:
                raise UsageError(
                    f"<attack.{name}>={label} would be ignored: it needs "
                    f"<attack.{other}>; give two labels, or none of the two."
                )
        if self.flip_from is not None and self.flip_from == self.flip_to:
            raise UsageError(
                f"<attack.flip_from>={self.flip_from} is <attack.flip_to>, "
                "which flips nothing: give two different labels."
            )


@ATTACKS.entry(
    "gaussian", f"{_PLACE}.gaussian:build_gaussian", refuses=_ON_UPDATES
)
@dataclasses.dataclass(frozen=True)
class GaussianUpdate(_OnUpdates):
    """Attackers send noise (Blanchard et al. 2017)."""

    gaussian_stddev: float = option(
        1.0,
        "Standard deviation of each number that attackers send, > 0.",
        range=positive(),
    )


@ATTACKS.entry("scaled", f"{_PLACE}.scaled:build_scaled", refuses=_ON_UPDATES)
@dataclasses.dataclass(frozen=True)
class ScaledUpdate(_OnUpdates):
    """Attackers send a multiple of their updates."""

    scaled_factor: float = option(
        10.0,
        "What the attackers' updates are multiplied with, > 0; 1 is no attack.",
        range=positive(),
    )


@ATTACKS.entry("alie", f"{_PLACE}.alie:build_alie", refuses=_ON_UPDATES)
@dataclasses.dataclass(frozen=True)
class Alie(_OnUpdates):
    """A little is enough: within the honest spread (Baruch et al. 2019)."""

    alie_z: float | None = option(
        None,
        "Standard deviations by which attackers leave their mean, > 0 "
        "(default: the paper's, by how many of a round's clients attack).",
        range=positive(),
    )


@ATTACKS.entry("ipm", f"{_PLACE}.ipm:build_ipm", refuses=_ON_UPDATES)
@dataclasses.dataclass(frozen=True)
class Ipm(_OnUpdates):
    """Attackers send the honest mean, turned round (Xie et al. 2020)."""

    ipm_epsilon: float = option(
        0.5,
        "What the honest mean is multiplied with, beside -1, > 0: a small one "
        "against rules that look for near updates, a large one against means.",
        range=positive(),
    )


def _check_rounds(text: str) -> None:
    SomeRounds.parse(text, "<attack.backdoor_rounds>")


@ATTACKS.entry(
    "backdoor", f"{_PLACE}.backdoor:build_backdoor", refuses=_ON_UPDATES
)
@dataclasses.dataclass(frozen=True)
class Backdoor(_OnUpdates):
    """A pixel trigger, by model replacement (Bagdasaryan et al. 2020)."""

    backdoor_target: int = option(
        0, "The label that the trigger stands for.", range=integers(0)
    )
    backdoor_size: int = option(
        2,
        "Side of the trigger, a white square in the lower right corner, in "
        "pixels.",
        range=integers(1, 10**4),
    )
    backdoor_share: float = option(
        0.5,
        "Share of an attacker's images that get the trigger, in [0, 1].",
        range=Range(0, 1, "in [0, 1]: 0.5 is half of them"),
    )
    backdoor_boost: float | None = option(
        None,
        "What the attackers' updates are multiplied with, > 0; 1 is poisoned "
        "data alone (default: what replaces the server's model, one over the "
        "attackers' share in the round and the server's learning rate).",
        range=positive(),
    )
    backdoor_rounds: str | None = option(
        None,
        "Rounds in which attackers attack, as 5 or 10-20,40 or 30-; in others "
        "they are honest (default: all).",
        check=_check_rounds,
    )

    def check(self, config: Any) -> None:
        """Refuses a server that no factor replaces the model of."""
        super().check(config)
        if self.backdoor_boost is not None:
            return
        for choice, linear in (
            ("server_optimizer", "sgd"),
            ("server_schedule", "constant"),
        ):
            found = _chosen(config, choice).name
            if found != linear:
                raise UsageError(
                    f"<{choice}>={found} makes something else of the mean "
                    "update than a constant times it, so that no factor is "
                    "known to replace the model: use "
                    f"<{choice}>={linear}, or give <attack.backdoor_boost>."
                )


@ATTACKS.entry(
    "free_rider", f"{_PLACE}.free_rider:build_free_rider", refuses=_ON_UPDATES
)
@dataclasses.dataclass(frozen=True)
class FreeRider(_OnUpdates):
    """Attackers send nothing, or noise like it (Fraboni et al. 2021)."""

    free_rider_stddev: float = option(
        0.0,
        "Standard deviation of the noise that disguises it, in round 1, >= 0; "
        "0 sends the model back as it was.",
        range=Range(0, 1e30, "at least 0"),
    )
    free_rider_decay: float = option(
        1.0,
        "Exponent with which that noise decays: in round t it has t^-decay of "
        "it, >= 0.",
        range=Range(0, 100, "from 0 to 100"),
    )
