"""Attacks: what some of the clients do instead of what they should."""

import dataclasses
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import option, positive
from tff_cnn.core.registry import Registry

# An attack's builder gets its options, and returns an `attack.Attack`. Fact
# `on_updates`: whether attackers send something else than they have trained.
ATTACKS = Registry("attack")


class _OnUpdates:
    """Of attacks with the fact `on_updates`."""

    def check(self, config: Any) -> None:
        """Raises `UsageError` where updates go a way that no attack is on."""
        # Imported here: the entries of algorithms have other components.
        from tff_cnn.algorithms import ALGORITHMS

        entry = ALGORITHMS.entry_of(config.algorithm)
        if "engine" in entry.facts:
            name = ATTACKS.entry_of(self).name
            raise UsageError(
                f"<attack>={name} does not fit <algorithm>={entry.name}: it "
                "changes the updates of synchronous rounds; use another "
                "<algorithm>, or an attack on data."
            )


@ATTACKS.entry(
    "sign_flip",
    "tff_cnn.evaluation.attacks.simple:build_sign_flip",
    on_updates=True,
)
@dataclasses.dataclass(frozen=True)
class SignFlip(_OnUpdates):
    """Attackers send the opposite of their updates."""

    attack_scale: float = option(
        1.0,
        "What the attackers' updates are multiplied with.",
        range=positive(),
    )
