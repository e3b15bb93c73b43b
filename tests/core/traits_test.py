import dataclasses

from tff_cnn.config import RunConfig
from tff_cnn.core import traits
from tff_cnn.core.traits import Trait

TRAITS = [value for value in vars(traits).values() if isinstance(value, Trait)]


def test_every_trait_is_decided_by_a_field_and_can_be_had():
    fields = {field.name for field in dataclasses.fields(RunConfig)}
    assert {trait.decided_by for trait in TRAITS} <= fields
    offered, needed = set(), set()
    for leaf in RunConfig.leaves().values():
        if leaf.is_choice:
            offered |= set(leaf.known.absent_offers)
            for entry in leaf.known.registry.entries:
                offered |= set(entry.offers)
                needed |= set(entry.needs)
        else:
            offered |= {
                t for given in leaf.known.choices.values() for t in given
            }
    assert offered == needed == set(TRAITS)


def test_traits_are_offered_where_they_are_decided():
    for leaf in RunConfig.leaves().values():
        entries = leaf.known.registry.entries if leaf.is_choice else ()
        for entry in entries:
            assert {trait.decided_by for trait in entry.offers} <= {leaf.path}
