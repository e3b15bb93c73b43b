import copy
import dataclasses
import pickle

import pytest

from tff_cnn.core import chains
from tff_cnn.core.chains import Chain, ChainRegistry
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import option
from tff_cnn.core.traits import ONLY_A_SUM, UNIFORM_WEIGHTS


def check_order(entries):
    if entries[0].name == "last":
        raise UsageError("last comes last.")


REGISTRY = ChainRegistry("part", check_order)


@REGISTRY.entry(
    "first",
    "builtins:dict",
    offers=[ONLY_A_SUM],
    needs={UNIFORM_WEIGHTS: "it counts"},
    refuses={"rounds": "it has none"},
)
@dataclasses.dataclass(frozen=True)
class First:
    """First."""

    size: int = option(1, "Size.")
    left: int = option(2, "Left.")


@REGISTRY.entry("last", "builtins:dict", offers=[UNIFORM_WEIGHTS, ONLY_A_SUM])
@dataclasses.dataclass(frozen=True)
class Last:
    """Last."""

    size: int = option(3, "Size.")

    def check(self, config):
        if config == "bad":
            raise UsageError("bad.")


FIRST, LAST = f"{__name__}:First", f"{__name__}:Last"


def test_one_component_is_as_in_any_registry():
    assert REGISTRY.options_of("last") == Last()
    assert REGISTRY.entry_of(Last()).name == "last"
    # As of what is registered outside of the package.
    assert REGISTRY.name_of(Last()) == LAST
    assert REGISTRY.chained([Last()]) == Last()


def test_a_chain_by_its_name_and_back():
    chain = REGISTRY.options_of("first+last")
    assert chain == Chain((First(), Last()))
    assert REGISTRY.name_of(chain) == f"{FIRST}+{LAST}"
    assert REGISTRY.options_of(f"{FIRST}+{LAST}") == chain
    assert chains.parts_of(chain) == (First(), Last())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first+lost", "unknown kind 'lost'"),
        ("first+", "unknown kind ''"),
        ("last+first", "last comes last"),
    ],
)
def test_chains_that_are_none(text, message):
    with pytest.raises(UsageError, match=message):
        REGISTRY.options_of(text, "kind")


def test_a_chain_of_nothing_is_none():
    with pytest.raises(
        UsageError, match="an empty list is no choice of part: give"
    ):
        REGISTRY.chained([])


def test_what_is_known_of_a_chain_is_what_is_known_of_its_parts():
    entry = REGISTRY.entry_of(Chain((First(), Last())))
    assert entry.name == "first+last"
    assert entry.needs == {UNIFORM_WEIGHTS: "it counts"}
    assert entry.refuses == {"rounds": "it has none"}
    assert entry.offers == (ONLY_A_SUM,)  # The other one not by all.
    assert entry.argument is None
    assert REGISTRY.entry_of("first") is None


def test_a_chain_has_the_fields_of_its_parts():
    chain = Chain((First(), Last()))
    assert (chain.size, chain.left) == (1, 2)
    with pytest.raises(AttributeError):
        _ = chain.other
    for copied in (copy.deepcopy(chain), pickle.loads(pickle.dumps(chain))):
        assert copied == chain
    with pytest.raises(UsageError, match="bad"):
        chain.check("bad")
    chain.check("good")


def test_values_reach_each_part_that_has_them():
    found = chains.with_values(Chain((First(), Last())), {"size": 5, "left": 6})
    assert found == Chain((First(5, 6), Last(5)))
    assert chains.with_values(Last(), {"left": 6}) == Last()
