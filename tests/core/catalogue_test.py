import dataclasses
from typing import Any

import pytest

from tff_cnn.core.catalogue import leaves
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import choice, option
from tff_cnn.core.registry import Registry

FRUIT = Registry("fruit")


@FRUIT.entry("apple", "builtins:dict")
@dataclasses.dataclass(frozen=True)
class Apple:
    """An apple."""

    size: int = option(1, "Size.", formerly="mass")


@FRUIT.entry("pear", "builtins:dict")
@dataclasses.dataclass(frozen=True)
class Pear:
    """A pear."""

    size: int = option(2, "Size.", formerly="mass")
    is_ripe: bool = option(False, "Ripe.", flag="ripe")


@dataclasses.dataclass(frozen=True)
class Basket:
    count: int = option(1, "Count.", group="all")
    fruit: Any = choice(
        Apple(),
        FRUIT,
        "Fruit.",
        prefix="the",
        former_prefix="a",
        formerly="food",
        group="all",
    )


def test_every_leaf_has_a_path_a_flag_and_a_key():
    found = leaves(Basket)
    assert [(leaf.path, leaf.flag, leaf.key) for leaf in found.values()] == [
        ("count", "count", "count"),
        ("fruit", "fruit", "food"),
        ("fruit.size", "the_size", "a_mass"),
        ("fruit.is_ripe", "ripe", "ripe"),
    ]
    owners = [[e.name for e in leaf.owners] for leaf in found.values()]
    assert owners == [[], [], ["apple", "pear"], ["pear"]]
    assert [leaf.absent for leaf in found.values()] == [None] * 3 + [False]
    assert {leaf.group for leaf in found.values()} == {"all"}


def test_two_options_cannot_share_a_flag():
    @dataclasses.dataclass(frozen=True)
    class Twice(Basket):
        ripe: int = option(1, "Also ripe.", group="all")

    with pytest.raises(
        UsageError, match="a run both have an option that is 'ripe'"
    ):
        leaves(Twice)


def test_two_options_cannot_share_a_key():
    @dataclasses.dataclass(frozen=True)
    class Twice(Basket):
        a_mass: int = option(1, "What size was once.", group="all")

    with pytest.raises(
        UsageError, match="both have an option that is 'a_mass'"
    ):
        leaves(Twice)


def test_components_agree_on_the_kind_of_an_option():
    nuts = Registry("nut")
    for name, kind in (("hazel", int), ("walnut", float)):
        made = dataclasses.make_dataclass(
            name, [("weight", kind, option(kind(1), "Weight."))], frozen=True
        )
        nuts.entry(name, "builtins:dict")(made)

    @dataclasses.dataclass(frozen=True)
    class Bag:
        nut: Any = choice(None, nuts, "Nut.")

    with pytest.raises(UsageError, match="walnut has an option 'weight'"):
        leaves(Bag)
