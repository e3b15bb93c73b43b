"""Between Python values, as TFF takes and returns them, and leaves."""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process import types
from tff_cnn.runtime.in_process.plan import Leaf, Record


def field_values(value: Any, type_: tff.StructType) -> list[Any]:
    """The fields of a structure's Python value, in the type's order."""
    names = [name for name, _ in tff.structure.iter_elements(type_)]
    if isinstance(value, tff.structure.Struct) and len(value) == len(names):
        return list(value)
    if isinstance(value, Mapping):
        if set(value) != set(names):
            raise TypeError(
                f"a value has the fields {sorted(value)}, expected {names}."
            )
        return [value[name] for name in names]
    if attrs.has(type(value)) or dataclasses.is_dataclass(value):
        if all(hasattr(value, name) for name in names if name):
            return [getattr(value, name) for name in names]
    if isinstance(value, list | tuple) and len(value) == len(names):
        return list(value)
    raise TypeError(
        f"a value of {type(value).__name__} does not fit the type {type_}."
    )


def flatten(value: Any, type_: tff.Type) -> Iterator[Any]:
    """The leaves of an unplaced value: arrays, and sequences as given."""
    if isinstance(type_, tff.StructType):
        fields = tff.structure.iter_elements(type_)
        for item, (_, item_type) in zip(
            field_values(value, type_), fields, strict=True
        ):
            yield from flatten(item, item_type)
    elif isinstance(type_, tff.TensorType):
        yield _to_array(value, type_)
    else:
        yield value


def element_tensors(sequence: Any, type_: tff.SequenceType) -> list[Any]:
    """The tensors of the single element of a sequence."""
    if isinstance(sequence, tf.data.Dataset):
        _check_elements(sequence, type_)
        return tf.nest.flatten(sequence.get_single_element())
    _check_is_sequence(sequence, type_)
    if len(sequence) != 1:
        raise ValueError(
            f"a sequence has {len(sequence)} elements, but the computation "
            "takes the single element of it."
        )
    leaves = list(flatten(sequence[0], type_.element))
    return _in_dataset_order(leaves, type_.element)


def dataset_variant(sequence: Any, type_: tff.SequenceType) -> tf.Tensor:
    """A sequence, given as a dataset or a list, as a variant tensor."""
    if isinstance(sequence, tf.data.Dataset):
        _check_elements(sequence, type_)
    else:
        _check_is_sequence(sequence, type_)
        rows = [
            _in_dataset_order(list(flatten(e, type_.element)), type_.element)
            for e in sequence
        ]
        sequence = _dataset(rows, types.nest_specs(type_.element))
    return tf.data.experimental.to_variant(sequence)


def _dataset(rows: list[list[Any]], specs: Any) -> tf.data.Dataset:
    """A data set of elements, each given as its leaves.

    Of tensors rather than of a Python generator, which TensorFlow would keep,
    with all data in it, until the process ends.
    """
    runs = itertools.groupby(rows, lambda row: [np.shape(leaf) for leaf in row])
    parts = [_slices(list(run), specs) for _, run in runs]
    if not parts:
        nothing = tf.nest.map_structure(
            lambda s: tf.zeros([0, *(n or 0 for n in s.shape)], s.dtype), specs
        )
        return tf.data.Dataset.from_tensor_slices(nothing)
    while len(parts) > 1:  # A tree: a long chain would be deeply nested.
        pairs = itertools.zip_longest(parts[::2], parts[1::2])
        parts = [a if b is None else a.concatenate(b) for a, b in pairs]
    return parts[0]


def _slices(rows: list[list[Any]], specs: Any) -> tf.data.Dataset:
    """A data set of elements of equal shapes."""
    stacked = [
        tf.convert_to_tensor(np.stack(leaves), spec.dtype)
        for leaves, spec in zip(
            zip(*rows, strict=True), tf.nest.flatten(specs), strict=True
        )
    ]
    return tf.data.Dataset.from_tensor_slices(
        tf.nest.pack_sequence_as(specs, stacked)
    )


def _check_is_sequence(sequence: Any, type_: tff.SequenceType) -> None:
    if not isinstance(sequence, list | tuple):
        raise TypeError(
            f"a sequence of the type {type_} is a list or a tf.data.Dataset, "
            f"found {type(sequence).__name__}."
        )


def _check_elements(dataset: tf.data.Dataset, type_: tff.SequenceType) -> None:
    found = tff.SequenceType(tff.types.tensorflow_to_type(dataset.element_spec))
    if not type_.is_assignable_from(found):
        raise TypeError(f"a data set is of the type {found}, expected {type_}.")


def to_python(value: Any, type_: tff.Type, get: Any, num_clients: int) -> Any:
    """The result in Python containers, with NumPy arrays and data sets.

    Args:
      value: From the plan.
      type_: Of the result.
      get: (leaf, client or None) -> its value.
      num_clients: Results placed at clients are lists of that length.
    """
    if isinstance(type_, tff.FederatedType):
        if type_.placement is tff.CLIENTS and not type_.all_equal:
            return [
                _build(value, type_.member, lambda leaf, c=c: get(leaf, c))
                for c in range(num_clients)
            ]
        return to_python(value, type_.member, get, num_clients)
    if isinstance(type_, tff.StructType):
        fields = tff.structure.iter_elements(type_)
        items = [
            (name, to_python(item, t, get, num_clients))
            for item, (name, t) in zip(value.items, fields, strict=True)
        ]
        return _container(items, type_)
    return _build(value, type_, lambda leaf: get(leaf, None))


def _build(value: Any, type_: tff.Type, get: Any) -> Any:
    if isinstance(value, Record):
        fields = tff.structure.iter_elements(type_)
        items = [
            (name, _build(item, t, get))
            for item, (name, t) in zip(value.items, fields, strict=True)
        ]
        return _container(items, type_)
    return _to_numpy(get(value), value)


def _to_numpy(value: Any, leaf: Leaf) -> Any:
    if isinstance(leaf.type, tff.SequenceType):
        specs = types.nest_specs(leaf.type.element)
        return tf.data.experimental.from_variant(value, specs)
    return value.numpy() if isinstance(value, tf.Tensor) else value[()]


def _container(items: list[tuple[str | None, Any]], type_: tff.Type) -> Any:
    """One level of a structure in the Python container of its type.

    Where the type has none, it is TFF's choice: an `OrderedDict` if all fields
    have names, a tuple if none has.
    """
    container = type_.python_container
    names, values = [n for n, _ in items], [v for _, v in items]
    has_names = any(name is not None for name in names)
    if has_names and None in names:
        raise ValueError(
            f"a result of the type {type_} has fields with and without names: "
            "no container of Python is like that; name all or none."
        )
    if container is None:
        container = collections.OrderedDict if has_names else tuple
    if issubclass(container, Mapping):
        return container(items)
    return container(**dict(items)) if has_names else container(values)


def _to_array(value: Any, type_: tff.TensorType) -> Any:
    """An array (or the eager tensor itself) of exactly the type.

    As strict as TFF's worker: a number is taken where its kind is the same
    and no digit is lost.
    """
    if isinstance(value, tf.Tensor):
        shape, fits = value.shape, value.dtype == type_.dtype
        array = value
    elif type_.dtype.type is np.str_:
        array = np.asarray(value, object)
        shape = array.shape
        fits = all(isinstance(v, str | bytes) for v in array.flat)
        array = np.vectorize(_to_bytes, otypes=[object])(array)
    else:
        array = np.asarray(value)
        shape, fits = array.shape, _fits(value, array, type_.dtype)
    if not fits:
        raise TypeError(
            f"a value has dtype {array.dtype}, expected {type_} "
            f"(found {str(value)[:60]!r})."
        )
    if not tf.TensorShape(type_.shape).is_compatible_with(shape):
        raise TypeError(f"a value has shape {tuple(shape)}, expected {type_}.")
    if isinstance(array, np.ndarray) and array.dtype.kind != "O":
        return array.astype(type_.dtype, copy=False)
    return array


def _fits(value: Any, array: np.ndarray, dtype: np.dtype) -> bool:
    """Whether numbers of `value` are of the kind of `dtype`, and fit in."""
    kinds = {"i": "iu", "u": "iu"}.get(array.dtype.kind, array.dtype.kind)
    if array.size and dtype.kind not in kinds:
        return False
    if isinstance(value, list | tuple):
        return all(_fits(v, np.asarray(v), dtype) for v in value)
    if isinstance(value, int | float | complex) and not isinstance(
        value, np.generic
    ):
        return np.can_cast(value, dtype)  # Goes by the number itself.
    return np.can_cast(array.dtype, dtype) or not array.size


def _to_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _in_dataset_order(leaves: list[Any], type_: tff.Type) -> list[Any]:
    """Leaves in the type's order to the order of tf.data, which sorts keys."""
    counter = iter(range(len(leaves)))
    order = tf.nest.flatten(types.nest(type_, lambda _: next(counter)))
    return [leaves[i] for i in order]
