"""In which order the parts of an aggregation may stand.

From a client outwards. What a part is says the fact `stage` of its entry:

    bound     limits what a client can do, by the norm of its update
    matrices  encodes the update's matrices as smaller ones
    numbers   encodes a vector as another, of which a client sends the numbers
    bits      encodes numbers as few bits
    rule      makes one update of all; it comes last, and where there is none
              it is the mean

An entry without the fact is a rule. What an entry cannot be used with in spite
of this order, and why, says its fact `bars`: name of another entry -> reason.
"""

from collections.abc import Sequence

from tff_cnn.core.errors import UsageError
from tff_cnn.core.registry import Entry
from tff_cnn.core.traits import ONLY_A_SUM

BOUND, MATRICES, NUMBERS, BITS, RULE = STAGES = (
    "bound",
    "matrices",
    "numbers",
    "bits",
    "rule",
)
ENCODED = (MATRICES, NUMBERS, BITS)

# Why nothing of an earlier stage may follow.
_REASONS = {
    BOUND: "",
    MATRICES: "what was encoded is longer or shorter than what it stands for, "
    "and a bound on it bounds no update",
    NUMBERS: "it makes one vector of all matrices",
    BITS: "it leaves no numbers to be encoded",
    RULE: "it makes one update of all, and looks at each as it was sent",
}
# Of these there is one at most.
_ONCE = (BITS, RULE)


def stage_of(entry: Entry) -> str:
    """One of `STAGES`."""
    return entry.facts.get("stage", RULE)


def check_order(entries: Sequence[Entry]) -> None:
    """Raises `UsageError` where a part cannot follow the one before it.

    Args:
      entries: From a client outwards, two or more.
    """
    for index, entry in enumerate(entries):
        for before in entries[:index]:
            reason = _why_not(before, entry)
            if reason:
                chain = "+".join(e.name for e in entries)
                raise UsageError(
                    f"{chain}: {entry.name} cannot follow {before.name}: "
                    f"{reason}; change the order, or leave one out."
                )


def _why_not(before: Entry, after: Entry) -> str | None:
    first, second = stage_of(before), stage_of(after)
    is_again = first == second and first in _ONCE
    hides = before.facts.get("hides") or after.facts.get("hides")
    if hides and first == second == RULE:
        both_sum = all(ONLY_A_SUM in e.offers for e in (before, after))
        return "both are the mean of updates" if both_sum else hides
    if STAGES.index(first) > STAGES.index(second) or is_again:
        return _REASONS[first]
    is_coded = first in ENCODED and "hides" in after.facts
    is_summed = before.facts.get("linear") or "integer_code" in before.facts
    if is_coded and not is_summed:
        return (
            "the server would have to decode what each client sends, which it "
            "sees only the sum of"
        )
    for entry, other in ((before, after), (after, before)):
        if other.name in entry.facts.get("bars", {}):
            return entry.facts["bars"][other.name]
    return None
