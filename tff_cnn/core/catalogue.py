"""All that can be configured, found from a dataclass of options and choices.

A `Leaf` is one thing that can be set: an option, or which component is chosen.
It has three names: its path in Python ("dp.clip_norm"), its flag
("dp_clip_norm"), and its key in files, which is the flag's first name.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import Choice, Field, Option, fields_of
from tff_cnn.core.registry import Entry


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One thing that can be set.

    Attributes:
      path: In Python: "rounds", "dp", "dp.clip_norm".
      flag: On the command line.
      key: In config.json, records and fingerprints.
      field: As its dataclass declares it; of the first component that has it.
      choice: The field whose components have it; None of a run's own.
      owners: These components.
      group: Its heading in the help.
    """

    path: str
    flag: str
    key: str
    field: Field
    choice: str | None
    owners: tuple[Entry, ...]
    group: str

    @property
    def known(self) -> Option | Choice:
        return self.field.known

    @property
    def is_choice(self) -> bool:
        return isinstance(self.known, Choice)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def absent(self) -> Any:
        """What stands in files where it does not apply."""
        return False if self.field.kind is bool else None

    def help(self) -> str:
        """As declared, for people; names of fields are still marked."""
        return self.known.help


def leaves(kind: type) -> dict[str, Leaf]:
    """Flag -> leaf of all that a dataclass and its components can be set to.

    Raises:
      UsageError: Two of them would have the same flag, or the same key.
    """
    found: dict[str, Leaf] = {}
    keys: dict[str, Leaf] = {}
    for leaf in _leaves(kind):
        for taken, name in ((found, leaf.flag), (keys, leaf.key)):
            if name in taken:
                raise UsageError(
                    f"{_owner(taken[name])} and {_owner(leaf)} both have an "
                    f"option that is {name!r} on the command line or in files: "
                    "give one of them another name, or another flag."
                )
            taken[name] = leaf
    return found


def _leaves(kind: type) -> Iterator[Leaf]:
    for field in fields_of(kind):
        known = field.known
        key = known.formerly or field.name
        group = known.group
        yield Leaf(field.name, field.name, key, field, None, (), group)
        if isinstance(known, Choice):
            yield from _leaves_of_components(field.name, known)


def _leaves_of_components(name: str, known: Choice) -> Iterator[Leaf]:
    declared: dict[str, tuple[Field, list[Entry]]] = {}
    for entry in known.registry.entries:
        for field in fields_of(entry.options):
            first, owners = declared.setdefault(field.name, (field, []))
            if (first.kind, first.known.flag) != (field.kind, field.known.flag):
                raise UsageError(
                    f"{entry.full_name} has an option {field.name!r} of "
                    f"another kind than {owners[0].full_name} has: give it "
                    "another name."
                )
            owners.append(entry)
    for field_name, (field, owners) in declared.items():
        option = field.known
        flag = option.flag or _behind(known.prefix, field_name)
        key = flag
        if option.formerly or known.former_prefix:
            prefix = known.former_prefix or known.prefix
            key = option.flag or _behind(prefix, option.formerly or field_name)
        path = f"{name}.{field_name}"
        yield Leaf(path, flag, key, field, name, tuple(owners), known.group)


def _owner(leaf: Leaf) -> str:
    return leaf.owners[0].full_name if leaf.owners else "a run"


def _behind(prefix: str, name: str) -> str:
    return f"{prefix}_{name}" if prefix else name
