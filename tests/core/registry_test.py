import dataclasses
import functools
import math

import pytest

from tff_cnn.core import registry
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import option
from tff_cnn.core.registry import Registry
from tff_cnn.core.traits import FIXED_COHORT, ONLY_A_SUM

REGISTRY = Registry("shape")


@REGISTRY.entry("root", "math:sqrt", needs={ONLY_A_SUM: "it has one leaf"})
@dataclasses.dataclass(frozen=True)
class Root:
    """The root.

    Of a number.
    """


@REGISTRY.entry("join", "builtins:dict", offers=[ONLY_A_SUM])
@dataclasses.dataclass(frozen=True)
class Join:
    """Joins."""

    left: int = option(1, "Left.")


def test_get_imports_the_object():
    assert REGISTRY.get("root") is math.sqrt
    assert REGISTRY.names == tuple(REGISTRY) == ("root", "join")


def test_a_builder_gets_the_options_by_name():
    assert REGISTRY.build(Join(left=3), {"a": 1}) == {"a": 1, "left": 3}
    assert REGISTRY.build(Root(), 9) == 3


def test_an_entry_is_found_by_name_options_class_and_builder():
    entry = REGISTRY.find("root")
    assert entry is REGISTRY.entry_of(Root()) is REGISTRY.entry_of_class(Root)
    assert REGISTRY.built_by(dict) is REGISTRY.find("join")
    assert REGISTRY.built_by(int) is None
    assert entry.summary == "The root."
    assert REGISTRY.needing(ONLY_A_SUM) == ("root",)
    assert REGISTRY.needing(FIXED_COHORT) == ()


def test_what_comes_from_elsewhere_is_named_by_its_class():
    assert REGISTRY.find("root").full_name == f"{__name__}:Root"
    found = REGISTRY.find(f"{__name__}:Root", "shape")
    assert found is REGISTRY.find("root")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_module:Root", "cannot be imported"),
        (f"{__name__}:Missing", "cannot be imported"),
        (f"{__name__}:Registry", "is no shape"),
        (f"{__name__}:REGISTRY", "is no shape"),
        (":", "cannot be imported"),
    ],
)
def test_what_is_not_there_is_refused(name, reason):
    with pytest.raises(UsageError, match=reason) as error:
        REGISTRY.find(name, "form")
    assert str(error.value).startswith(f"form={name} ")


def test_unknown_name_names_the_nearest_and_all():
    with pytest.raises(
        UsageError,
        match="unknown shape 'roto': did you mean 'root'\\? valid are root",
    ):
        REGISTRY.check("roto")
    with pytest.raises(UsageError, match="unknown form 'roto'"):
        REGISTRY.find("roto", "form")


def test_far_off_name_gets_no_guess():
    with pytest.raises(UsageError) as error:
        REGISTRY.get("zzz")
    assert "did you mean" not in str(error.value)


def test_nothing_is_imported_before_it_is_asked_for():
    registry = Registry("shape")

    @registry.entry("broken", "no_such_module:thing", is_public=False)
    @dataclasses.dataclass(frozen=True)
    class Broken:
        """Broken."""

    assert registry.entry_of(Broken()).name == "broken"
    assert "broken" not in registry and registry.entries == ()
    with pytest.raises(ModuleNotFoundError):
        registry.build(Broken())


def test_a_name_belongs_to_one_component():
    registry = Registry("shape")

    def define(name):
        kind = type(name, (), {"__module__": __name__, "__qualname__": name})
        return registry.entry("one", "math:sqrt")(kind)

    define("One")
    again = define("One")  # A cell of a notebook that is executed again.
    assert registry.find("one").options is again
    with pytest.raises(ValueError, match="a shape 'one' already"):
        define("Other")


FAMILY = Registry("library")


@FAMILY.entry("book", "builtins:dict", argument="title")
@dataclasses.dataclass(frozen=True)
class Book:
    """A book."""

    title: str
    pages: int = option(1, "Pages.")


@FAMILY.entry("map", "builtins:dict")
@dataclasses.dataclass(frozen=True)
class Map:
    """A map."""


def test_a_name_may_be_followed_by_an_argument():
    for name in ("book:a/b:c", f"{__name__}:Book:a/b:c"):
        entry, given = FAMILY.chosen(name)
        assert entry.options is Book and given == {"title": "a/b:c"}
        assert FAMILY.find(name) is entry
    place = f"{__name__}:Book"
    assert FAMILY.name_of(Book("a/b:c")) == f"{place}:a/b:c"
    assert FAMILY.name_of(Map()) == f"{__name__}:Map"
    assert FAMILY.chosen("map") == (FAMILY.find("map"), {})
    assert FAMILY.names == ("book", "map")
    assert FAMILY.patterns == (f"{place}:TITLE", f"{__name__}:Map")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("book", "says not which: write .*:TITLE, with its title"),
        ("book:", "says not which"),
        (f"{__name__}:Book", "says not which"),
        (f"{__name__}:Map:x", "says more than there is to say"),
        ("map:x", "cannot be imported"),
        ("boook:x", "cannot be imported"),
    ],
)
def test_arguments_that_are_missing_or_too_many(name, reason):
    with pytest.raises(UsageError, match=reason):
        FAMILY.find(name, "shelf")


def test_a_class_stands_for_its_defaults_only_where_it_has_them():
    assert FAMILY.default(Map, "shelf") == Map()
    with pytest.raises(UsageError, match="says not which"):
        FAMILY.default(Book, "shelf")


def test_a_builder_gets_what_it_asks_for_by_name():
    def build(count, sizes, *, kind="plain"):
        """Asks for sizes."""

    known = {"sizes": [1, 2], "rounds": 3}
    assert registry.asked_for(build, known) == {"sizes": [1, 2]}
    given = functools.partial(build, kind="other")
    assert registry.asked_for(given, {"kind": "x", "rounds": 3}) == {
        "kind": "x"
    }
    assert registry.asked_for(lambda: None, known) == {}
