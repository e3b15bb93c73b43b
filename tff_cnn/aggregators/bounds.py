"""Bounds on what one client can do, in front of any other aggregation.

Norm bounding (Sun, Kairouz, Suresh & McMahan 2019, "Can You Really Backdoor
Federated Learning?", section 4):

    1. Delta_k = Delta_k / max(1, ||Delta_k||_2 / M)

Zeroing: clients with an entry above M in size are left out, with their weights;
TFF's `zeroing_factory` counts them as zeros.

M is fixed, or follows a quantile of the clients' norms, as in TFF's factories
(`PrivateQuantileEstimationProcess.no_noise`), by the geometric rule of Andrew,
Thakkar, McMahan & Ramaswamy 2021, "Differentially Private Learning with
Adaptive Clipping":

    2. b = share of the clients whose norm is at most C
    3. C = C exp(-eta_C (b - gamma)), for the next round
    4. M = C, and M = multiplier C for zeroing

    symbol  name
    M       bound_norm, zeroing_norm where it is fixed
    C       the first of these at first; then the state
    gamma   bound_quantile, zeroing_quantile; none is a fixed M
    eta_C   bound_learning_rate, zeroing_learning_rate

TFF's estimator would take clients that are excluded for clients of norm zero;
here they are not in the share, and where nobody counts C stays. TFF's clip
computes the norm in float32 and answers NaN from entries of 2e19 on.

Breakdown: of the mean of n behind norm bounding, b clients move M b / n, and
gamma > b / n keeps C at what honest clients have: neither bounds a direction.

Cost for n clients of d coordinates: time n d at the clients; memory d for each
client at work; bytes as of what is behind, and 4 down.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators import clipping, stateful
from tff_cnn.aggregators.excluded import without_excluded

_Factory = tff.aggregators.WeightedAggregationFactory
_FLOAT = tff.TensorType(np.float32)


@dataclasses.dataclass(frozen=True)
class Bound:
    """Where M comes from.

    Attributes:
      first: Of the first round, > 0.
      quantile: gamma, in (0, 1); 0 or None where M is fixed.
      learning_rate: eta_C, >= 0.
      multiplier: M / C, where there is a quantile.
    """

    first: float
    quantile: float | None = None
    learning_rate: float = 0.0
    multiplier: float = 1.0

    @property
    def estimate(self) -> float:
        """C at first; M where it is fixed."""
        return self.first / self.factor

    @property
    def factor(self) -> float:
        """M / C: 1 where M is fixed."""
        return self.multiplier if self.quantile else 1.0

    def after(
        self, estimate: tf.Tensor, num_within: tf.Tensor, num: tf.Tensor
    ) -> tf.Tensor:
        """Step 3; all float32 scalars.

        Args:
          estimate: C.
          num_within: Clients whose norm is at most C.
          num: Clients that count.
        """
        share = tf.math.divide_no_nan(num_within, num)
        factor = tf.exp(-self.learning_rate * (share - self.quantile))
        return tf.where(num > 0, estimate * factor, estimate)


def build_norm_bounding(
    inner: _Factory,
    bound_norm: float,
    bound_quantile: float | None,
    bound_learning_rate: float,
) -> "BoundedFactory":
    """Builds step 1 in front of an aggregation.

    Args:
      inner: What is behind.
      bound_norm: M, or of the first round, > 0.
      bound_quantile: gamma; 0 or None is a fixed M.
      bound_learning_rate: eta_C.
    """

    def bounded(update, weight, bound):
        return clipping.clip(update, bound)[0], weight

    bound = Bound(bound_norm, bound_quantile, bound_learning_rate)
    return BoundedFactory(inner, bound, clipping.l2_norm, bounded)


def build_zeroing(
    inner: _Factory,
    zeroing_norm: float,
    zeroing_quantile: float | None,
    zeroing_multiplier: float,
    zeroing_learning_rate: float,
) -> "BoundedFactory":
    """Leaves clients out, in front of an aggregation.

    Args:
      inner: What is behind.
      zeroing_norm: M, or of the first round, > 0.
      zeroing_quantile: gamma; 0 or None is a fixed M.
      zeroing_multiplier: M / C.
      zeroing_learning_rate: eta_C.
    """

    def bounded(update, weight, bound):
        is_within = _largest(tf.nest.flatten(update)) <= tf.cast(
            bound, tf.float64
        )
        return tf.nest.map_structure(
            lambda leaf: tf.where(is_within, leaf, tf.zeros_like(leaf)),
            (update, weight),
        )

    bound = Bound(
        zeroing_norm,
        zeroing_quantile,
        zeroing_learning_rate,
        zeroing_multiplier,
    )
    return BoundedFactory(inner, bound, _largest, bounded)


def behind(factory: _Factory, wrap: Callable[[_Factory], _Factory]) -> _Factory:
    """A factory with another around what is behind all its bounds.

    Args:
      factory: With bounds, or without.
      wrap: Puts it there: it gets the weights that bounds have left.
    """
    if not isinstance(factory, BoundedFactory):
        return wrap(factory)
    inner = behind(factory.inner, wrap)
    return dataclasses.replace(factory, inner=inner)


def _largest(leaves: list[tf.Tensor]) -> tf.Tensor:
    """L-infinity norm of all leaves together: float64, []."""
    sizes = [tf.reduce_max(tf.abs(leaf)) for leaf in leaves]
    return tf.cast(tf.reduce_max(tf.stack(sizes)), tf.float64)


@dataclasses.dataclass(frozen=True)
class BoundedFactory(_Factory):
    """Bounds updates at the clients; the state is (C, that of what is behind).

    Clients that do not count (`excluded`) come as zeros of weight zero.

    Attributes:
      inner: What is behind.
      bound: M.
      norm_of: Leaves of an update -> float64 scalar.
      bounded: (update, weight, M) -> (update, weight).
    """

    inner: _Factory
    bound: Bound
    norm_of: Callable[[list[tf.Tensor]], tf.Tensor]
    bounded: Callable[[Any, tf.Tensor, tf.Tensor], tuple[Any, tf.Tensor]]

    def create(self, value_type, weight_type):
        process = self.inner.create(value_type, weight_type)
        bound = self.bound

        @tff.tensorflow.computation(value_type, weight_type, _FLOAT)
        def bounded(update, weight, estimate):
            return self.bounded(update, weight, bound.factor * estimate)

        def first():
            return tf.constant(bound.estimate, tf.float32)

        def step(estimate, value, weight, behind):
            value, weight = without_excluded(value, weight)
            sent = tff.federated_broadcast(estimate)
            found = tff.federated_map(bounded, (value, weight, sent))
            output = behind(found[0], found[1])
            if bound.quantile:
                estimate = self._next(estimate, value, weight, sent)
            return estimate, output.state, output.result, output.measurements

        return stateful.process_around(
            process, value_type, weight_type, first, step
        )

    def _next(self, estimate, value, weight, sent):
        """Steps 2 and 3: C of the next round, at the server."""

        @tff.tensorflow.computation(
            value.type_signature.member, weight.type_signature.member, _FLOAT
        )
        def count(update, weight, estimate):
            norm = self.norm_of(tf.nest.flatten(update))
            is_within = norm <= tf.cast(estimate, tf.float64)
            counts = weight > 0
            return (
                tf.cast(counts & is_within, tf.float32),
                tf.cast(counts, tf.float32),
            )

        counts = tff.federated_map(count, (value, weight, sent))
        return tff.federated_map(
            tff.tensorflow.computation(
                self.bound.after, (_FLOAT, _FLOAT, _FLOAT)
            ),
            (
                estimate,
                tff.federated_sum(counts[0]),
                tff.federated_sum(counts[1]),
            ),
        )
