"""Aggregations in front of another, with a state of their own."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

# Of a round.
NUMBER = tff.TensorType(tf.int64.as_numpy_dtype)


def process_around(
    inner: tff.templates.AggregationProcess,
    value_type: tff.Type,
    weight_type: tff.Type,
    first: Callable[[], tf.Tensor],
    step: Callable[..., tuple[Any, Any, Any, Any]],
) -> tff.templates.AggregationProcess:
    """A process whose state is (its own, that of what is behind).

    Args:
      inner: What is behind.
      value_type: Of an update, as it comes.
      weight_type: Of its weight.
      first: Its own state before the first round.
      step: (own state, updates, weights, `behind`), all placed, -> (own state
        of the next round, state of what is behind, aggregate, measurements);
        `behind` is (updates, weights) -> what `inner` has of them.
    """

    @tff.federated_computation
    def initialize():
        own = tff.federated_eval(tff.tensorflow.computation(first), tff.SERVER)
        return tff.federated_zip((own, inner.initialize()))

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(value_type, tff.CLIENTS),
        tff.FederatedType(weight_type, tff.CLIENTS),
    )
    def next_fn(state, value, weight):
        own, inner_state = state

        def behind(value, weight):
            return inner.next(inner_state, value, weight)

        own, inner_next, result, measured = step(own, value, weight, behind)
        return tff.templates.MeasuredProcessOutput(
            tff.federated_zip((own, inner_next)), result, measured
        )

    return tff.templates.AggregationProcess(initialize, next_fn)


def numbered(
    inner: tff.templates.AggregationProcess,
    value_type: tff.Type,
    weight_type: tff.Type,
    step: Callable[..., tuple[Any, Any, Any]],
) -> tff.templates.AggregationProcess:
    """`process_around` whose own state counts rounds: int64, from 0 on.

    So a run that is resumed goes on with what is drawn of the number.

    Args:
      inner: What is behind.
      value_type: Of an update, as it comes.
      weight_type: Of its weight.
      step: As there, but that it returns no number.
    """

    @tff.tensorflow.computation(NUMBER)
    def following(number):
        return number + 1

    def counted(number, value, weight, behind):
        found = step(number, value, weight, behind)
        return tff.federated_map(following, number), *found

    def first():
        return tf.constant(0, tf.int64)

    return process_around(inner, value_type, weight_type, first, counted)
