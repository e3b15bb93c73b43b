"""Which aggregation a run uses, and in which order its parts wrap.

From a client outwards: its own randomizer, if any; then a private mean, or
another aggregator. The client work zeroes updates that are not finite and sets
their weight to zero, which the plain mean relies on; whatever has noise bounds
what it gets by itself. Which of them go together is said by their traits
(`core.traits`).
"""

import tensorflow_federated as tff

from tff_cnn.aggregators import private
from tff_cnn.aggregators.noise import NoiseSeed
from tff_cnn.aggregators.randomizers import LocalRandomizerFactory
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.privacy.randomizers import LocalRandomizer


def build_mean() -> tff.aggregators.WeightedAggregationFactory:
    """The mean by clients' weights; zero where all weights are zero."""
    return tff.aggregators.MeanFactory(no_nan_division=True)


def build_aggregator(
    mechanism: CentralMechanism | None = None,
    noise_seed: NoiseSeed | None = None,
    local_randomizer: LocalRandomizer | None = None,
    *,
    base: tff.aggregators.AggregationFactory | None = None,
    deterministic: bool = False,
) -> tff.aggregators.WeightedAggregationFactory:
    """Builds the aggregator slot.

    Args:
      mechanism: Central DP, which ignores clients' weights and divides by the
        expected cohort; it takes the place of `base`.
      noise_seed: See `private.build`; None where there is no noise.
      local_randomizer: What clients do to their updates first of all; the mean
        is then uniform.
      base: Aggregates without central DP; None is `build_mean`. One that
        ignores weights gets what is not finite as zeros.
      deterministic: NOT PRIVATE where set, see `private.build` and
        `LocalRandomizerFactory`.

    Raises:
      ValueError: There is noise and no seed for it.
    """
    aggregator = base or build_mean()
    if mechanism is not None:
        aggregator = private.build(
            mechanism, noise_seed, deterministic=deterministic
        )
    if isinstance(aggregator, tff.aggregators.UnweightedAggregationFactory):
        aggregator = tff.aggregators.as_weighted_aggregator(aggregator)
    if local_randomizer is None:
        return aggregator
    return LocalRandomizerFactory(
        local_randomizer, aggregator, noise_seed, deterministic=deterministic
    )
