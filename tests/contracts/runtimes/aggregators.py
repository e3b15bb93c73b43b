"""Cases: TFF's aggregators and analytics, and processes built of them.

Aggregators alone are cheap to build. Where they draw random numbers, either
the noise is small enough to compare or only what does not depend on it is.
"""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
import tensorflow_privacy as tfp

from tests.contracts.runtimes.cases import (
    PAIR,
    SGD,
    case,
    pairs,
    process_case,
    variable_model,
)

AGGREGATORS = tff.aggregators
PRIVATE = AGGREGATORS.DifferentiallyPrivateFactory
WEIGHTS = tff.to_type([item for _, item in tff.structure.iter_elements(PAIR)])
TINY = 1e-7  # A noise multiplier.


def aggregator_case(name, make, *, weighted=False, type_=PAIR, **options):
    """Registers rounds of what `make()` aggregates: `PAIR`s or `WEIGHTS`."""

    def build():
        factory = make()
        if isinstance(factory, AGGREGATORS.WeightedAggregationFactory):
            return factory.create(type_, tff.TensorType(np.float32))
        return factory.create(type_)

    def data():
        if weighted:
            return pairs(), [1.0, 2.0, 3.0, 0.5]
        values = pairs()
        if type_ is not PAIR:
            values = [list(value.values()) for value in values]
        return (values,)

    process_case(name, build, data, **options)


def result(output):
    return output.result


def record_specs():
    return [tf.TensorSpec((4, 3)), tf.TensorSpec((3,))]


def in_fed_avg(aggregator):
    return tff.learning.algorithms.build_unweighted_fed_avg(
        variable_model, SGD, model_aggregator=aggregator
    )


aggregator_case("sum", AGGREGATORS.SumFactory)
aggregator_case("unweighted_mean", AGGREGATORS.UnweightedMeanFactory)
aggregator_case("mean", AGGREGATORS.MeanFactory, weighted=True)
aggregator_case("robust", tff.learning.robust_aggregator, weighted=True)
aggregator_case(
    "debug_measurements",
    lambda: tff.learning.add_debug_measurements(
        tff.learning.robust_aggregator(weighted=False)
    ),
)
aggregator_case(
    "fixed_clipping_and_zeroing",
    lambda: AGGREGATORS.zeroing_factory(
        2.5, AGGREGATORS.clipping_factory(1.5, AGGREGATORS.SumFactory())
    ),
)
aggregator_case(
    "concatenation",
    lambda: AGGREGATORS.concat_factory(AGGREGATORS.SumFactory()),
)
aggregator_case(
    "added_measurements",
    lambda: AGGREGATORS.add_measurements(
        AGGREGATORS.SumFactory(),
        client_measurement_fn=lambda value: collections.OrderedDict(
            mean=tff.federated_mean(value).b
        ),
        server_measurement_fn=lambda value: collections.OrderedDict(
            same=value.b
        ),
    ),
)
aggregator_case(
    "compression",
    lambda: tff.learning.compression_aggregator(weighted=False),
)
aggregator_case(
    "quantization",
    lambda: AGGREGATORS.EncodedSumFactory.quantize_above_threshold(
        quantization_bits=4, threshold=5, stochastic=False
    ),
)
aggregator_case(
    "hadamard",
    lambda: AGGREGATORS.HadamardTransformFactory(AGGREGATORS.SumFactory()),
    select=result,  # The state holds the time as a seed.
)
aggregator_case(
    "fourier",
    lambda: AGGREGATORS.DiscreteFourierTransformFactory(
        AGGREGATORS.SumFactory()
    ),
    select=result,
)
aggregator_case("fixed_clip", lambda: PRIVATE.gaussian_fixed(TINY, 4.0, 1.5))
aggregator_case(
    "adaptive_clip",
    lambda: PRIVATE.gaussian_adaptive(
        TINY, 4.0, 1.5, clipped_count_stddev=TINY
    ),
)
aggregator_case(
    "tree_aggregation",
    lambda: PRIVATE.tree_aggregation(
        0.5, 4.0, 1.5, record_specs(), noise_seed=3
    ),
    type_=WEIGHTS,
)
aggregator_case(
    "tree_aggregation_not_efficient",
    lambda: PRIVATE.tree_aggregation(
        0.5, 4.0, 1.5, record_specs(), noise_seed=3, use_efficient=False
    ),
    type_=WEIGHTS,
)
aggregator_case(
    "tree_with_adaptive_clip_and_restarts",
    lambda: PRIVATE.tree_adaptive(
        TINY,
        4.0,
        record_specs(),
        1.5,
        restart_warmup=1,
        restart_frequency=2,
        clipped_count_stddev=1e-6,  # That noise has no seed.
        noise_seed=3,
    ),
    type_=WEIGHTS,
    rounds=5,
    select=result,  # After a restart, the state holds the time as a seed.
    atol=1e-5,
)
aggregator_case(
    "quantile",
    lambda: AGGREGATORS.zeroing_factory(
        AGGREGATORS.PrivateQuantileEstimationProcess.no_noise(1.0, 0.5, 0.3),
        AGGREGATORS.SumFactory(),
    ),
)


process_case(
    "fed_avg_with_adaptive_clip_and_zeroing",
    lambda: in_fed_avg(tff.learning.dp_aggregator(TINY, 3.0)),
    # The noise on the count of clipped clients has a fixed size.
    select=lambda output: output.metrics["client_work"],
    rounds=1,
)


@case
def reservoir_sampling():
    factory = AGGREGATORS.UnweightedReservoirSamplingFactory(10)
    process = factory.create(tff.TensorType(np.int32))
    output = process.next(process.initialize(), [5, 7, 6])
    few = AGGREGATORS.UnweightedReservoirSamplingFactory(2).create(
        tff.TensorType(np.int32)
    )
    sampled = few.next(few.initialize(), [5, 5, 5])
    return np.sort(output.result), sampled.result


@case
def quantile_estimation():
    process = AGGREGATORS.PrivateQuantileEstimationProcess(
        tfp.NoPrivacyQuantileEstimatorQuery(2.0, 0.5, 0.5)
    )
    state = process.initialize()
    for _ in range(3):
        state = process.next(state, [1.0, 3.0, 4.0])
    return state, process.report(state)


@case
def federated_sample():
    @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
    def compute(values):
        return AGGREGATORS.federated_sample(values, 10)

    return np.sort(compute([3.0, 1.0, 2.0]))


def histogram(**options):
    return tff.analytics.build_hierarchical_histogram_process(
        0.0,
        8.0,
        4,
        clip_mechanism="distinct",
        enable_secure_sum=False,
        **options,
    )


def levels(output):
    """The levels of the tree, which are part of the state."""
    return dict(output.state.aggregated_hierarchical_histogram)


def measured_numbers():
    return ([[1.0, 2.5], [7.5], [0.5, 3.0, 9.0]],)


process_case(
    "hierarchical_histogram",
    histogram,
    measured_numbers,
    rounds=1,
    select=levels,
)
process_case(
    "private_hierarchical_histogram",
    lambda: histogram(dp_mechanism="central-gaussian", noise_multiplier=TINY),
    measured_numbers,
    rounds=1,
    select=levels,
    atol=1e-3,
)


def words():
    return [
        tf.data.Dataset.from_tensor_slices(words)
        for words in (["one", "two", "two"], ["two"], ["three", "one"])
    ]


@case
def heavy_hitters():
    compute = tff.analytics.heavy_hitters.iblt.build_iblt_computation(
        capacity=10, batch_size=2
    )
    found = compute([data.batch(2) for data in words()])
    counts = zip(found.heavy_hitters, found.heavy_hitters_counts, strict=True)
    return sorted(counts), found.num_not_decoded, found.clients


@case
def count_distinct():
    compute = (
        tff.analytics.count_distinct.create_federated_hyperloglog_computation()
    )
    return compute(words())


@case
def sampled_metrics():
    accuracy = tff.learning.metrics.create_keras_metric_finalizer(
        tf.keras.metrics.SparseCategoricalAccuracy
    )
    process = tff.learning.metrics.FinalizeThenSampleFactory(10).create(
        collections.OrderedDict(accuracy=accuracy),
        tff.to_type(collections.OrderedDict(accuracy=[np.float32, np.float32])),
    )
    values = [
        collections.OrderedDict(accuracy=[np.float32(a), np.float32(b)])
        for a, b in ((1, 2), (3, 3), (0, 4))
    ]
    return process.next(process.initialize(), values).result
