"""Which aggregation a run uses, and in which order its parts wrap.

Today: a private mean, or a plain (weighted) mean. Updates that are not finite
never reach it: the client work has zeroed them and set their weight to zero.
"""

import tensorflow_federated as tff

from tff_cnn.aggregators import private
from tff_cnn.privacy.mechanism import CentralMechanism


def build_aggregator(
    mechanism: CentralMechanism | None = None,
    test_only_noise_seed: int | None = None,
) -> tff.aggregators.WeightedAggregationFactory:
    """Builds the aggregator slot.

    Args:
      mechanism: Central DP, which ignores clients' weights and divides by the
        expected cohort; None is the mean weighted by clients' weights (zero
        where all weights are zero, as in an empty cohort).
      test_only_noise_seed: See `private.build`.
    """
    if mechanism is None:
        return tff.aggregators.MeanFactory(no_nan_division=True)
    return tff.aggregators.as_weighted_aggregator(
        private.build(mechanism, test_only_noise_seed)
    )
