"""Settings of the test's own: what a configuration is made of is any fields."""

import dataclasses
from typing import Any

import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import choice, integers, option
from tff_cnn.core.registry import Registry
from tff_cnn.settings import Settings

TOOLS = Registry("tool")


@TOOLS.entry("saw", "builtins:dict")
@dataclasses.dataclass(frozen=True)
class Saw:
    """Cuts."""

    teeth: int = option(30, "How many.", range=integers(1, 99))


@TOOLS.entry("file", "builtins:list")
@dataclasses.dataclass(frozen=True)
class File:
    """Rasps."""


@dataclasses.dataclass(frozen=True)
class Workshop(Settings):
    """A tool, and how often it is used."""

    tool: Any = choice(Saw(), TOOLS, "Tool: {names}.", group="a")
    other: Any = choice(
        None, TOOLS, "Another.", prefix="other", allows_none=True, group="a"
    )
    times: int = option(1, "Times.", range=integers(1, 5), group="a")


def test_what_is_written_is_read_again():
    made = Workshop(tool="file", other=Saw(teeth=7), times=2)
    flat = made.flat()
    assert flat == {
        "tool": f"{__name__}:File",  # Of a component from elsewhere.
        "teeth": None,
        "other": f"{__name__}:Saw",
        "other_teeth": 7,
        "times": 2,
    }
    assert Workshop.from_flat(flat) == made
    assert Workshop.from_flat({}) == Workshop()


def test_values_are_checked_and_found_by_their_paths():
    made = Workshop(tool=Saw(teeth=9))
    assert (made.at("tool.teeth"), made.at("other.teeth")) == (9, None)
    assert [entry.name for _, _, entry in made.chosen()] == ["saw"]
    assert made.with_options("tool", teeth=3) == Workshop(tool=Saw(teeth=3))
    with pytest.raises(UsageError, match="times=6 must"):
        Workshop(times=6)
    with pytest.raises(UsageError, match="tool.teeth=0 must"):
        Workshop(tool=Saw(teeth=0))
