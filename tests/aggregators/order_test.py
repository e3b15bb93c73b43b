import dataclasses
import itertools

import pytest

from tff_cnn.aggregators import order
from tff_cnn.core.errors import UsageError
from tff_cnn.core.registry import Entry
from tff_cnn.core.traits import ONLY_A_SUM


def entry(stage, name=None, **facts):
    name = name or f"a_{stage}"
    return Entry(
        name, type, "", {}, (), {}, {}, {"stage": stage, **facts}, True
    )


@pytest.mark.parametrize(
    ("first", "second"), itertools.product(order.STAGES, repeat=2)
)
def test_stages_follow_one_another_from_the_client_outwards(first, second):
    is_once = first in (order.BITS, order.RULE)
    earlier = order.STAGES.index(first) < order.STAGES.index(second)
    parts = [entry(first), entry(second)]
    if earlier or (first == second and not is_once):
        order.check_order(parts)
    else:
        with pytest.raises(
            UsageError, match=f"a_{second} cannot follow a_{first}: .*; change"
        ):
            order.check_order(parts)


def test_parts_that_are_not_neighbours_are_looked_at_too():
    parts = [entry(order.RULE), entry(order.BOUND), entry(order.RULE)]
    with pytest.raises(UsageError, match="a_bound cannot follow a_rule"):
        order.check_order(parts)


@pytest.mark.parametrize("bars", [0, 1])
def test_what_an_entry_bars_is_refused_with_its_reason(bars):
    facts = [{}, {}]
    facts[bars] = {"bars": {"ab"[1 - bars]: "it would be odd"}}
    parts = [
        entry(order.NUMBERS, "a", **facts[0]),
        entry(order.RULE, "b", **facts[1]),
    ]
    with pytest.raises(
        UsageError, match=r"^a\+b: b cannot follow a: it would be odd"
    ):
        order.check_order(parts)


def test_an_entry_without_a_stage_is_a_rule():
    plain = Entry("plain", type, "", {}, (), {}, {}, {}, True)
    assert order.stage_of(plain) == order.RULE


SECURE = {"hides": "it must see single updates"}


def test_what_hides_updates_comes_behind_no_other_rule():
    secure = entry(order.RULE, "secure", **SECURE)
    median = entry(order.RULE, "median")
    for parts in ([median, secure], [secure, median]):
        with pytest.raises(UsageError, match="it must see single updates; ch"):
            order.check_order(parts)
    mean = dataclasses.replace(median, name="mean", offers=(ONLY_A_SUM,))
    secure = dataclasses.replace(secure, offers=(ONLY_A_SUM,))
    with pytest.raises(UsageError, match="both are the mean"):
        order.check_order([mean, secure])


@pytest.mark.parametrize("stage", order.ENCODED)
def test_only_codes_that_can_be_summed_come_before_what_hides_updates(stage):
    secure = entry(order.RULE, "secure", **SECURE)
    with pytest.raises(
        UsageError, match="sees only the sum of; change the order"
    ):
        order.check_order([entry(stage), secure])
    order.check_order([entry(stage, integer_code="a:b"), secure])
    order.check_order([entry(stage, linear=True), secure])
    order.check_order([entry(order.BOUND), secure])
