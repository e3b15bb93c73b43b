"""Registries: names that flags accept, and where the object behind each is.

An entry is the string `"module:attribute"` (dots allowed in both), imported
when it is first asked for, so that `--help` and the checking of flags never
import TensorFlow.
"""

import difflib
import importlib
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tff_cnn.core.errors import UsageError


class Registry:
    """A read-only mapping from a name to an object imported on demand."""

    def __init__(self, kind: str, entries: Mapping[str, str]):
        """Args:
        kind: What the entries are ("model"), for messages.
        entries: name -> "module:attribute".
        """
        self.kind = kind
        self._entries = dict(entries)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def check(self, name: str) -> str:
        """Returns `name`; raises `UsageError` naming the nearest valid one."""
        if name not in self._entries:
            raise UsageError(unknown_name(self.kind, name, self._entries))
        return name

    def get(self, name: str) -> Any:
        """Imports and returns the object registered as `name`."""
        module, _, attribute = self._entries[self.check(name)].partition(":")
        return operator.attrgetter(attribute)(importlib.import_module(module))


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> str:
    """The sentence for a name that is not among `valid`."""
    valid = list(valid)
    nearest = difflib.get_close_matches(name.lower(), valid, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"unknown {kind} {name!r}: {hint}valid are {', '.join(valid)}."
