"""TFF types as nested structures of what tf.data sees."""

import collections
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff


def nest(type_: tff.Type, make_leaf: Callable[[tff.Type], Any]) -> Any:
    """A structure of leaves: named fields in an OrderedDict, others a tuple."""
    if not isinstance(type_, tff.StructType):
        return make_leaf(type_)
    items = [
        (name, nest(item, make_leaf))
        for name, item in tff.structure.iter_elements(type_)
    ]
    if items and all(name is not None for name, _ in items):
        return collections.OrderedDict(items)
    return tuple(item for _, item in items)


def nest_specs(type_: tff.Type) -> Any:
    """The specs of a type without placements and functions."""
    return nest(type_, lambda t: tf.TensorSpec(t.shape, t.dtype))
