import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_cnn.core import options
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import Range, fields_of, integers, option, positive


@dataclasses.dataclass(frozen=True)
class Options:
    count: int = option(1, "Count.", range=integers(1, 9, also=0))
    rate: float | None = option(None, "Rate.", range=positive(0.5, 2.0))
    is_on: bool = option(False, "Switch.")
    name: str = option("a", "Name.", choices={"a": (), "b": ()})
    plain: Any = None  # No option.


FIELDS = {field.name: field for field in fields_of(Options)}


def checked(name, value):
    return options.check_value(FIELDS[name], value, f"choice.{name}")


def test_fields_are_those_that_are_declared_as_options():
    assert list(FIELDS) == ["count", "rate", "is_on", "name"]
    assert [f.kind for f in FIELDS.values()] == [int, float, bool, str]
    assert [f.allows_none for f in FIELDS.values()] == [
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("count", np.int64(3), 3),
        ("count", 0, 0),
        ("count", np.array(4), 4),
        ("rate", 1, 1.0),
        ("rate", np.float32(0.5), 0.5),
        ("rate", None, None),
        ("is_on", np.bool_(True), True),
        ("name", "b", "b"),
    ],
)
def test_values_become_pythons_own(name, value, result):
    found = checked(name, value)
    assert found == result and type(found) is type(result)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("count", "3", "must be an integer, not str"),
        ("count", 3.0, "must be an integer, not float"),
        ("count", True, "must be an integer, not bool"),
        ("count", None, "must be an integer, not NoneType"),
        ("count", 10, "must be at least 1 and at most 9."),
        ("rate", "x", "must be a number, not str"),
        ("rate", math.nan, "=nan must be positive: from 0.5 to 2"),
        ("rate", 10**400, "=1000"),
        ("is_on", 1, "must be True or False, not int"),
        ("name", 1, "must be a text, not int"),
        ("name", "c", "unknown choice.name 'c': valid are a, b."),
    ],
)
def test_what_is_no_value_is_refused_by_its_path(name, value, part):
    with pytest.raises(UsageError) as error:
        checked(name, value)
    assert part in str(error.value)
    assert f"choice.{name}" in str(error.value)


@given(st.floats(), st.booleans())
def test_ends_belong_to_closed_ranges_only(value, is_open):
    found = Range(-1.0, 2.0, "", is_open=is_open)
    inside = -1 < value < 2
    at_an_end = value in (-1.0, 2.0)
    assert found.holds(value) is (inside or (at_an_end and not is_open))
    for end in (-1.0, 2.0):
        assert found.holds(end) is not is_open
        assert not found.holds(end * 1.0000001)


@pytest.mark.parametrize("value", [None, False, 0, 0.0, "none"])
def test_neutral_is_as_if_it_were_not_there(value):
    assert options.is_neutral(value)
    assert options.is_neutral(value, neutral="mean")


@pytest.mark.parametrize("value", ["mean", 1, True, 0.1, "", "None"])
def test_other_values_are_not(value):
    assert not options.is_neutral(value)
    assert options.is_neutral(value, neutral="mean") is (value == "mean")
