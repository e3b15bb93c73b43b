"""Mechanisms as JSON: in config.json, checkpoints and statements.

A description has the name of the mechanism's class and its fields, of which
`participation` is a dictionary of the fields of `Participation`. Folders of
before mechanisms had that field say the same in flat keys; they are read, too.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tff_cnn.privacy.participation import Participation

# Flat keys, as they were -> fields of `Participation`.
_FLAT = {
    "sampling": "sampling",
    "sampling_rate": "rate",
    # Of DP-SGD in clients.
    "client_sampling": "sampling",
    "client_sampling_rate": "rate",
    "num_clients": "num_clients",
    "rounds_per_epoch": "rounds_per_epoch",
    "min_separation": "min_separation",
}


def describe(mechanism: Any) -> dict[str, Any]:
    """A mechanism of any stage as JSON: its class's name and its fields."""
    return {
        "name": type(mechanism).__name__,
        **{
            # As it comes back from a file.
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(mechanism).items()
        },
    }


def nested(description: Mapping[str, Any]) -> dict[str, Any]:
    """A description, new or of before there was one, as `describe` has it."""
    if "participation" in description:
        return dict(description)
    kept = {k: v for k, v in description.items() if k not in _FLAT}
    moved = {_FLAT[k]: v for k, v in description.items() if k in _FLAT}
    return {**kept, "participation": moved}


def read(kind: type, description: Mapping[str, Any]) -> Any:
    """The mechanism that `describe` described, or an earlier release.

    Args:
      kind: Class of the mechanism, of the name that the description has.
      description: May be flat.

    Raises:
      KeyError, TypeError: Its keys are not the name and the class's fields.
      ValueError: Its values make no mechanism; as a rule a `UsageError`.
    """
    fields = nested(description)
    del fields["name"]
    participation = Participation(**fields.pop("participation"))
    return kind(**fields, participation=participation)
