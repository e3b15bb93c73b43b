"""The mean of updates."""

import tensorflow_federated as tff


def build_mean() -> tff.aggregators.WeightedAggregationFactory:
    """The mean by clients' weights; zero where all weights are zero."""
    return tff.aggregators.MeanFactory(no_nan_division=True)
