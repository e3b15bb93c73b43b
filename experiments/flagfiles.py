"""Flagfiles, read into the command line that names them.

A flagfile is UTF-8 text: a flag a line, as --name=value, comments after # or
//, and --flagfile=OTHER. absl's own reader passes over circles, reads whatever
the locale says and takes the last of several values.
"""

import dataclasses
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tff_cnn.core.errors import UsageError

_FLAGFILE = ("--flagfile", "-flagfile")
_LARGEST_BYTES = 1_000_000


@dataclasses.dataclass(frozen=True)
class Given:
    """An argument, and the flagfile that has it (None: typed)."""

    text: str
    flagfile: str | None = None


def named(arguments: Sequence[str]) -> list[str]:
    """The flagfiles that a command line itself names, in their order."""
    found = []
    rest = list(arguments)
    while rest and (argument := rest.pop(0)) != "--":
        path = _path_of(argument, rest)
        if path is not None:
            found.append(path)
    return found


def expand(arguments: Sequence[str]) -> list[Given]:
    """What a command line says, with the lines of its flagfiles in place.

    Raises:
      UsageError: A flagfile that is none, or that names itself.
    """
    return list(_expand(list(arguments), None, ()))


def _expand(
    rest: list[str], origin: str | None, within: tuple[str, ...]
) -> Iterator[Given]:
    while rest:
        argument = rest.pop(0)
        path = _path_of(argument, rest)
        if path is None:
            yield Given(argument, origin)
        else:
            lines, real = _lines(path), os.path.realpath(path)
            if real in within:
                raise UsageError(
                    f"--flagfile={path} names itself, through {origin}: "
                    "remove the line."
                )
            yield from _expand(lines, path, (*within, real))
        if argument == "--":
            yield from (Given(text, origin) for text in rest)
            return


def _path_of(argument: str, rest: list[str]) -> str | None:
    """The flagfile that an argument names, maybe in the argument after it."""
    name, equals, path = argument.partition("=")
    if name not in _FLAGFILE:
        return None
    if not equals:
        path = rest.pop(0) if rest else ""
    if not path.strip():
        raise UsageError("--flagfile names no file: write --flagfile=PATH.")
    return os.path.expanduser(path.strip())


def _lines(path: str) -> list[str]:
    text = _read(path)
    lines = [line.strip() for line in text.splitlines()]
    lines = [s for s in lines if s and not s.startswith(("#", "//"))]
    if not lines:
        raise UsageError(
            f"--flagfile={path} holds no flags: write one a line, as "
            "--rounds=10."
        )
    return lines


def _read(path: str) -> str:
    try:
        # Not opened before: a pipe or a device could make us wait for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError(f"--flagfile={path} is no file: name a text file.")
        with open(path, "rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--flagfile={path} cannot be read ({reason}): name a text file."
        ) from error
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or len(content) > _LARGEST_BYTES:
        raise UsageError(
            f"--flagfile={path} is not UTF-8 text: save it as such, with one "
            "flag a line."
        )
    return text.removeprefix("\ufeff")


def check(expanded: Sequence[Given], defined: Mapping[str, Any]) -> None:
    """Refuses values that would silently give way to others.

    A flagfile is made to be overridden, by what is typed after it or by
    another flagfile, and of what is typed the last counts, as everywhere. But a
    typed value that a flagfile after it replaces is a mistake, and so are two
    values in one flagfile, and --noresume=1.

    Args:
      expanded: From `expand`.
      defined: Name -> absl flag.

    Raises:
      UsageError: As said.
    """
    found: dict[str, list[tuple[str, str | None]]] = {}
    for name, value, origin in _values(expanded, defined):
        found.setdefault(name, []).append((value, origin))
    for name, values in found.items():
        counts, winner = values[-1]
        for value, origin in values[:-1]:
            if winner and value != counts and origin in (None, winner):
                raise UsageError(
                    f"--{name}={value} would be ignored: --{name}={counts} "
                    f"stands after it in {winner}; remove one of the two."
                )


def _values(
    expanded: Sequence[Given], defined: Mapping[str, Any]
) -> Iterator[tuple[str, str, str | None]]:
    """Name, value and origin of all flags; what is none is passed over."""
    rest = list(expanded)
    while rest and (given := rest.pop(0)).text != "--":
        if not given.text.startswith("-"):
            continue
        name, equals, value = given.text.lstrip("-").partition("=")
        positive = name.removeprefix("no")
        if name not in defined and _is_switch(defined, positive):
            if equals:
                raise UsageError(
                    f"--{name}={value} has a value too many: write --{name} "
                    f"or --{positive}=false."
                )
            yield positive, "false", given.flagfile
        elif equals:
            yield name, value, given.flagfile
        elif _is_switch(defined, name):
            yield name, "true", given.flagfile
        elif name in defined and rest:
            yield name, rest.pop(0).text, given.flagfile


def _is_switch(defined: Mapping[str, Any], name: str) -> bool:
    return name in defined and bool(defined[name].boolean)
