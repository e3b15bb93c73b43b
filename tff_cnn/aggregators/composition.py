"""Which aggregation a run uses, and in which order its parts wrap.

From a client outwards: its own randomizer, if any; bounds and codecs, in the
order in which they were chosen; then a private mean, or the rule that was
chosen (`aggregators.order`). The client work zeroes updates that are not
finite and sets their weight to zero, by which an aggregator knows that they do
not count; whatever has noise bounds what it gets by itself. Which of them go
together is said by their traits (`core.traits`).
"""

from typing import Any

import tensorflow_federated as tff

from tff_cnn.aggregators import AGGREGATORS, Mean, order, private
from tff_cnn.aggregators.codecs import Codecs
from tff_cnn.aggregators.encoded import EncodedFactory
from tff_cnn.aggregators.linear import LinearFactory
from tff_cnn.aggregators.noise import NoiseSeed
from tff_cnn.aggregators.randomizers import LocalRandomizerFactory
from tff_cnn.core import chains, registry
from tff_cnn.core.errors import UsageError
from tff_cnn.core.traits import ONLY_A_SUM
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.privacy.randomizers import LocalRandomizer


def build_aggregator(
    chosen: Any,
    mechanism: CentralMechanism | None = None,
    noise_seed: NoiseSeed | None = None,
    local_randomizer: LocalRandomizer | None = None,
    *,
    deterministic: bool = False,
) -> tff.aggregators.WeightedAggregationFactory:
    """Builds the aggregator slot.

    Args:
      chosen: Options of an aggregator.
      mechanism: Central DP, which ignores clients' weights and divides by the
        expected cohort; it takes the place of an aggregator that is a sum.
      noise_seed: See `private.build`; None where there is no noise.
      local_randomizer: What clients do to their updates first of all; each
        counts the same then.
      deterministic: NOT PRIVATE where set, see `private.build` and
        `LocalRandomizerFactory`.

    Raises:
      UsageError: The aggregator cannot know which clients count.
      ValueError: There is noise and no seed for it, or central DP for an
        aggregator that is no sum.
    """
    parts = chains.parts_of(chosen)
    rule = parts[-1] if _stage(parts[-1]) == order.RULE else Mean()
    codecs = [p for p in parts if _stage(p) in order.ENCODED]
    sums_codes = AGGREGATORS.entry_of(rule).facts.get("sums_codes", False)
    if mechanism is not None:
        _check_is_sum(chosen)
        if sums_codes and codecs:
            raise UsageError(_encodes_twice(chosen))
        aggregator = tff.aggregators.as_weighted_aggregator(
            private.build(
                mechanism,
                noise_seed,
                deterministic=deterministic,
                total=_private_sum(rule),
            )
        )
    elif sums_codes and codecs:
        aggregator = _summed_codes(rule, codecs)
    else:
        aggregator = _weighted(rule)
    # With error feedback clients' rules encode (`algorithms.error_feedback`).
    if codecs and not sums_codes and not has_feedback(chosen):
        aggregator = EncodedFactory(build_codecs(chosen), aggregator)
    for part in reversed(parts):
        if _stage(part) == order.BOUND:
            aggregator = _weighted(part, aggregator)
    if local_randomizer is None:
        return aggregator
    return LocalRandomizerFactory(
        local_randomizer, aggregator, noise_seed, deterministic=deterministic
    )


def build_codecs(chosen: Any) -> Codecs:
    """What clients encode their updates with; of no parts where they do not.

    Args:
      chosen: Options of an aggregator.
    """
    parts = chains.parts_of(chosen)
    return Codecs(
        [AGGREGATORS.build(p) for p in parts if _stage(p) in order.ENCODED]
    )


def has_feedback(chosen: Any) -> bool:
    """Whether clients keep what their codes leave out."""
    return getattr(chosen, "error_feedback", False)


def _stage(part: Any) -> str:
    return order.stage_of(AGGREGATORS.entry_of(part))


def _private_sum(
    rule: Any,
) -> tff.aggregators.UnweightedAggregationFactory | None:
    """How the rule sums what central DP has bounded; None is plainly."""
    builder = AGGREGATORS.entry_of(rule).facts.get("sum")
    if builder is None:
        return None
    return registry.load(builder)(**registry.values_of(rule))


def _summed_codes(
    rule: Any, codecs: list[Any]
) -> tff.aggregators.WeightedAggregationFactory:
    """A rule that sums what codecs make: linear ones, and integers at last.

    Where all are linear the rule makes integers as it does without codecs.
    """
    linear = [c for c in codecs if AGGREGATORS.entry_of(c).facts.get("linear")]
    known = {}
    for codec in codecs[len(linear) :]:  # One: nothing follows integers.
        builder = AGGREGATORS.entry_of(codec).facts["integer_code"]
        known["code"] = registry.load(builder)(**registry.values_of(codec))
    aggregator = _weighted(rule, **known)
    for codec in reversed(linear):
        # The same for all clients, or the server could not decode their sum.
        known = {"is_shared": True}
        asked = registry.asked_for(AGGREGATORS.entry_of(codec).load(), known)
        shared = AGGREGATORS.builder(codec)(**asked)
        aggregator = LinearFactory(shared, aggregator)
    return aggregator


def _weighted(
    chosen: Any,
    *inner: tff.aggregators.WeightedAggregationFactory,
    **known: Any,
) -> tff.aggregators.WeightedAggregationFactory:
    factory = AGGREGATORS.builder(chosen)(*inner, **known)
    if not isinstance(factory, tff.aggregators.WeightedAggregationFactory):
        name = AGGREGATORS.entry_of(chosen).full_name
        raise UsageError(
            f"<aggregator>={name} is a {type(factory).__name__}, which gets no "
            "weights and so would count excluded clients, as zeros: build a "
            "weighted factory, as `aggregators.collected` has one."
        )
    return factory


def _encodes_twice(chosen: Any) -> str:
    return (
        f"<aggregator>={AGGREGATORS.entry_of(chosen).name} does not go with "
        "<dp>, under which a secure sum rounds what it sums by itself, so that "
        "no norm grows: leave the codec out, or <dp>."
    )


def _check_is_sum(chosen: Any) -> None:
    entry = AGGREGATORS.entry_of(chosen)
    if ONLY_A_SUM not in entry.offers:
        raise ValueError(f"{entry.name} is no sum, which central DP bounds.")
