"""Which aggregation a run uses, and in which order its parts wrap.

From a client outwards: its own randomizer, if any; then a private mean, or a
plain (weighted) mean. Updates that are not finite
never reach it: the client work has zeroed them and set their weight to zero.
"""

import tensorflow_federated as tff

from tff_cnn.aggregators import private
from tff_cnn.aggregators.randomizers import LocalRandomizerFactory
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.privacy.randomizers import LocalRandomizer


def build_aggregator(
    mechanism: CentralMechanism | None = None,
    test_only_noise_seed: int | None = None,
    local_randomizer: LocalRandomizer | None = None,
) -> tff.aggregators.WeightedAggregationFactory:
    """Builds the aggregator slot.

    Args:
      mechanism: Central DP, which ignores clients' weights and divides by the
        expected cohort; None is the mean weighted by clients' weights (zero
        where all weights are zero, as in an empty cohort).
      test_only_noise_seed: See `private.build`.
      local_randomizer: What clients do to their updates first of all; the mean
        is then uniform.
    """
    if mechanism is None:
        aggregator = tff.aggregators.MeanFactory(no_nan_division=True)
    else:
        aggregator = tff.aggregators.as_weighted_aggregator(
            private.build(mechanism, test_only_noise_seed)
        )
    if local_randomizer is None:
        return aggregator
    return LocalRandomizerFactory(
        local_randomizer, aggregator, test_only_noise_seed
    )
