"""Aggregation with noise that is correlated over rounds.

Tree aggregation is tensorflow_privacy's. Matrix factorization is ours: round t
releases (sum of clipped updates + y_t) / expected_cohort, where y = C^-1 z is
computed as the rounds come, from what the aggregator's state keeps of earlier
ones. With column c of C and z_t ~ N(0, (clip_norm noise_multiplier)^2 I):

    banded   y_t = (z_t - sum over j = 1 ... bands - 1 of c_j y_(t-j)) / c_0
             (Choquette-Choo et al. 2023, Algorithm 9), kept: y_(t-1), ...
    BLT      y_t = z_t / c_0 - sum over j of scales_j s_j
             s_j <- decays_j s_j + y_t
             (McMahan et al. 2024, Algorithm 3), kept: s

That state is as secret as the updates: whoever has it can subtract the noise.
"""

import collections
from collections.abc import Callable
from typing import Any, NamedTuple

import dp_accounting
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
import tensorflow_privacy as tfp
from tensorflow.python.util import nest

from tff_cnn.aggregators import clipping, noise
from tff_cnn.aggregators.noise import NoiseSeed
from tff_cnn.privacy import correlated

# What of a `tfp.TreeResidualSumQuery`'s state is of its tree.
_TREE = {"tree_state", "previous_tree_noise"}


class QueryFactory(tff.aggregators.UnweightedAggregationFactory):
    """Private aggregation by a query that has to know what it aggregates."""

    def __init__(
        self,
        build_query: Callable[[Any], tfp.DPQuery],
        denominator: float,
        summation: tff.aggregators.UnweightedAggregationFactory,
    ):
        """Args:
        build_query: Structure of `tf.TensorSpec`s -> sum query.
        denominator: The noised sum is divided by it.
        summation: Sums clipped records.
        """
        self._build_query = build_query
        self._denominator = denominator
        self._summation = summation

    def create(self, value_type):
        specs = tff.types.type_to_tf_tensor_specs(value_type)
        query = tfp.NormalizedQuery(
            self._build_query(specs), denominator=self._denominator
        )
        return tff.aggregators.DifferentiallyPrivateFactory(
            query, self._summation
        ).create(value_type)


class _NodeNoise(tfp.tree_aggregation.ValueGenerator):
    """Noise of a tree's nodes; drawn in loops, so it counts for itself.

    Not tensorflow_privacy's own generator: it is seeded by the clock, which
    can be guessed, and its seed stands in the state.
    """

    class State(NamedTuple):
        """What is kept from node to node.

        Attributes:
          noise_calls: int64, nodes drawn so far, of all trees.
        """

        noise_calls: Any

    def __init__(self, specs: Any, stddev: float, noise_seed: NoiseSeed):
        self._specs = specs
        self._stddev = stddev
        self._seed = noise_seed

    def initialize(self):
        return self.State(tf.constant(0, tf.int64))

    def next(self, state):
        drawn = noise.normal(
            self._specs, self._stddev, self._seed, state.noise_calls
        )
        return drawn, self.State(state.noise_calls + 1)


def tree_query(
    mechanism: correlated.TreeAggregation, specs, noise_seed: NoiseSeed
):
    """Noise of tree aggregation, restarted where the mechanism says so."""
    stddev = mechanism.clip_norm * mechanism.noise_multiplier
    query = tfp.TreeResidualSumQuery(
        record_specs=specs,
        noise_generator=_NodeNoise(specs, stddev, noise_seed),
        clip_fn=lambda record, bound: clipping.clip(record, bound)[0],
        clip_value=mechanism.clip_norm,
    )
    if mechanism.restart_period is None:
        return query
    return tfp.RestartQuery(
        query,
        tfp.restart_query.PeriodicRoundRestartIndicator(
            mechanism.restart_period
        ),
    )


def with_new_tree(state: Any, template: Any) -> Any:
    """`state` with the tree that a run begins with; as it is without a tree.

    tensorflow_privacy draws the nodes of a round at the end of the round
    before. Two continuations of one state would so add the same noise to what
    may be two sums, whose difference it then hides no more. A run that goes on
    with other cohorts must do so with another tree.

    Args:
      state: That holds the state of an aggregation, anywhere in it.
      template: As it is before the first round, with another seed.
    """
    pairs = zip(
        nest.flatten_with_joined_string_paths(state),
        tf.nest.flatten(template),
        strict=True,
    )
    leaves = [
        fresh if _TREE & set(path.split("/")) else leaf
        for (path, leaf), fresh in pairs
    ]
    return tf.nest.pack_sequence_as(state, leaves)


class MatrixFactorizationSumQuery(tfp.SumAggregationDPQuery):
    """Sums clipped records and adds noise that is correlated over calls."""

    class GlobalState(NamedTuple):
        """What is kept from round to round.

        Attributes:
          clip_norm: float32.
          round_num: int32, rounds so far.
          kept: For each leaf of a record, [number kept, *shape of the leaf],
            float32; see the module.
        """

        clip_norm: Any
        round_num: Any
        kept: Any

    def __init__(
        self,
        clip_norm: float,
        stddev: float,
        specs: Any,
        num_kept: int,
        step: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
        noise_seed: NoiseSeed,
    ):
        """Args:
        clip_norm: L2 bound of a record as a whole.
        stddev: Of z.
        specs: Structure of `tf.TensorSpec`s of a record.
        num_kept: Tensors kept for each leaf, >= 0.
        step: (z_t, kept) -> (y_t, kept afterwards), for one leaf.
        noise_seed: Secret; z is a function of it and of the round.
        """
        self._clip_norm = clip_norm
        self._stddev = stddev
        self._specs = specs
        self._num_kept = num_kept
        self._step = step
        self._seed = noise_seed

    def initial_global_state(self):
        kept = tf.nest.map_structure(
            lambda spec: tf.zeros([self._num_kept, *spec.shape], tf.float32),
            self._specs,
        )
        return self.GlobalState(
            tf.constant(self._clip_norm, tf.float32), tf.constant(0), kept
        )

    def derive_sample_params(self, global_state):
        return global_state.clip_norm

    def preprocess_record(self, params, record):
        return clipping.clip(record, params)[0]

    def get_noised_result(self, sample_state, global_state):
        z = noise.normal(
            self._specs, self._stddev, self._seed, global_state.round_num
        )
        kept = tf.nest.flatten(global_state.kept)
        noised, new_kept = [], []
        for total, leaf, old in zip(
            tf.nest.flatten(sample_state), tf.nest.flatten(z), kept, strict=True
        ):
            y, new = self._step(leaf, old)
            noised.append(total + y)
            new_kept.append(new)
        new_state = self.GlobalState(
            global_state.clip_norm,
            global_state.round_num + 1,
            tf.nest.pack_sequence_as(global_state.kept, new_kept),
        )
        result = tf.nest.pack_sequence_as(sample_state, noised)
        # One round has no event of its own; the ledger asks the mechanism.
        return result, new_state, dp_accounting.UnsupportedDpEvent()

    def derive_metrics(self, global_state):
        del global_state
        return collections.OrderedDict()


def banded_query(
    mechanism: correlated.BandedMatrixFactorization,
    specs,
    noise_seed: NoiseSeed,
):
    """The query whose noise is that of a banded factorization."""
    column = mechanism.column.astype(np.float32)

    def step(z, kept):
        """`kept` is y_(t-1), y_(t-2), ..."""
        y = (z - tf.tensordot(column[1:], kept, 1)) / column[0]
        return y, tf.concat([y[tf.newaxis], kept], 0)[:-1]

    return MatrixFactorizationSumQuery(
        mechanism.clip_norm,
        mechanism.clip_norm * mechanism.noise_multiplier,
        specs,
        len(column) - 1,
        step,
        noise_seed,
    )


def blt_query(
    mechanism: correlated.BltMatrixFactorization, specs, noise_seed: NoiseSeed
):
    """The query whose noise is that of buffered linear Toeplitz factors."""
    decays, scales = (p.astype(np.float32) for p in mechanism.parameters)
    first_entry = np.float32(mechanism.first_entry)

    def step(z, kept):
        """`kept` is s."""
        y = z / first_entry - tf.tensordot(scales, kept, 1)
        decayed = tf.reshape(decays, [-1] + [1] * y.shape.rank) * kept
        return y, decayed + y[tf.newaxis]

    return MatrixFactorizationSumQuery(
        mechanism.clip_norm,
        mechanism.clip_norm * mechanism.noise_multiplier,
        specs,
        len(decays),
        step,
        noise_seed,
    )


def release_query(
    mechanism: correlated.ReleaseNoise, specs, noise_seed: NoiseSeed
):
    """The query of noise y_t = z_t - z_(t-1): the totals have noise z_t."""

    def step(z, kept):
        return z - kept[0], z[tf.newaxis]

    return MatrixFactorizationSumQuery(
        mechanism.clip_norm,
        mechanism.clip_norm * mechanism.noise_multiplier,
        specs,
        1,
        step,
        noise_seed,
    )
