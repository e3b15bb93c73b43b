"""Operations on sequences, as variant tensors of tf.data."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process import types

Tensors = Sequence[tf.Tensor]  # The leaves of a value, in its type's order.


def select(keys: tf.Tensor, function: Callable, result: tff.Type) -> tf.Tensor:
    """The sequence of what each key selects.

    Args:
      keys: A vector.
      function: Key -> the leaves of an element.
      result: Type of an element of the result.
    """
    dataset = tf.data.Dataset.from_tensor_slices(keys).map(
        lambda key: _packed(function(key), result)
    )
    return tf.data.experimental.to_variant(dataset)


def map_elements(
    sequence: tf.Tensor,
    element: tff.Type,
    function: Callable[[Tensors], Tensors],
    result: tff.Type,
) -> tf.Tensor:
    """Applies `function` to each; types are those of elements."""
    dataset = _dataset(sequence, element).map(
        lambda *value: _packed(function(_unpacked(value, element)), result)
    )
    return tf.data.experimental.to_variant(dataset)


def reduce_elements(
    sequence: tf.Tensor,
    element: tff.Type,
    zero: Tensors,
    function: Callable[[Tensors], Tensors],
) -> Tensors:
    """Folds from the left; `function` takes the total and an element."""
    return _dataset(sequence, element).reduce(
        tuple(zero),
        lambda total, *value: tuple(
            function([*total, *_unpacked(value, element)])
        ),
    )


def sum_elements(sequence: tf.Tensor, element: tff.Type) -> Tensors:
    """Sums of the elements' tensors; zeros where there is no element."""
    zeros: list[tf.Tensor] = []
    types.nest(element, lambda t: zeros.append(tf.zeros(t.shape, t.dtype)))

    def add(both):
        return map(tf.add, both[: len(zeros)], both[len(zeros) :])

    return reduce_elements(sequence, element, zeros, add)


def _dataset(sequence: tf.Tensor, element: tff.Type) -> tf.data.Dataset:
    specs = types.nest_specs(element)
    return tf.data.experimental.from_variant(sequence, specs)


def _packed(flat: Tensors, type_: tff.Type) -> Any:
    remaining = iter(flat)
    return types.nest(type_, lambda _: next(remaining))


def _unpacked(arguments: tuple, type_: tff.Type) -> list[tf.Tensor]:
    """Leaves of an element, given as tf.data gives it to a function.

    tf.data takes tuples apart, and sorts fields that have names.
    """
    count = iter(range(10**9))
    order = types.nest(type_, lambda _: next(count))
    flat = tf.nest.flatten(arguments)
    positions = tf.nest.flatten(order)
    by_position = dict(zip(positions, flat, strict=True))
    return [by_position[i] for i in range(len(flat))]
