"""Which layers of a model are trained; the others are frozen.

Frozen weights are constants of every client: they are neither sent nor clipped
nor noised, and a run's checkpoints leave them out. Batch normalization among
frozen layers normalizes by the statistics that it has, as in inference.

A layer is known by its name, and within a model of the model by both,
"backbone/conv1". Where Keras has made the name up it numbers layers over all
models of a process; here it is as in a process that has built no other.
"""

import hashlib
import re
import types
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from keras.src.utils.generic_utils import to_snake_case

from tff_cnn.core import weights
from tff_cnn.core.errors import UsageError
from tff_cnn.core.weights import Weights
from tff_cnn.models import ALL, HEAD, seeded_layers
from tff_cnn.models.seeded_layers import layers_of


class Named(NamedTuple):
    """A layer that is no model itself.

    Attributes:
      name: Of its own among all layers.
      layer: It.
      is_trainable: Whether neither it nor a model that it is in is frozen.
    """

    name: str
    layer: tf.keras.layers.Layer
    is_trainable: bool


def named_layers(model: tf.keras.Model) -> list[Named]:
    """All layers but inputs, each once; of inner models theirs."""
    found, seen = [], set()
    for named in _named(model, "", model.trainable):
        if id(named.layer) not in seen:
            seen.add(id(named.layer))
            found.append(named)
    return found


def _named(
    model: tf.keras.Model, prefix: str, is_trainable: bool
) -> Iterator[Named]:
    numbers: Counter[str] = Counter()
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.InputLayer):
            continue
        is_model = isinstance(layer, tf.keras.Model)
        name = prefix + _own_name(layer, numbers)
        trained = is_trainable and layer.trainable
        if is_model:
            yield from _named(layer, f"{name}/", trained)
        else:
            yield Named(name, layer, trained)


def _own_name(layer: tf.keras.layers.Layer, numbers: Counter[str]) -> str:
    """The layer's name; one that Keras made up is numbered anew."""
    kinds = [to_snake_case(type(layer).__name__), "model"]
    for kind in kinds[: 1 + isinstance(layer, tf.keras.Model)]:
        if re.fullmatch(rf"{re.escape(kind)}(_\d+)?", layer.name):
            number = numbers[kind]
            numbers[kind] += 1
            return f"{kind}_{number}" if number else kind
    return layer.name


def freeze(model: tf.keras.Model, which: str) -> None:
    """Freezes all layers but those that are to be trained.

    Args:
      model: Sequential or functional; its layers' `trainable` are set.
      which: "all": what the model itself does not freeze; "head": the last
        layer with weights; or a regular expression that the whole name of a
        layer matches.

    Raises:
      UsageError: No layer with weights matches.
    """
    layers = [named for named in named_layers(model) if named.layer.weights]
    chosen = {id(n.layer) for n in layers if _is_chosen(n, layers[-1], which)}
    if not chosen and which != ALL:
        names = ", ".join(named.name for named in layers)
        raise UsageError(
            f"<trainable>={which} matches no layer with weights of model "
            f"{model.name!r}: these are {names}."
        )
    model.trainable = True  # So that a layer's own setting is what counts.
    for named in layers:
        named.layer.trainable = id(named.layer) in chosen


def _is_chosen(named: Named, last: Named, which: str) -> bool:
    if which == ALL:
        return named.is_trainable
    if which == HEAD:
        return named is last
    return re.fullmatch(which, named.name) is not None


def weight_layers(model: tf.keras.Model) -> tuple[str, ...]:
    """The name of the layer of each trainable weight, in their order."""
    names = {
        id(variable): named.name
        for named in named_layers(model)
        for variable in named.layer.weights
    }
    return tuple(names[id(variable)] for variable in model.trainable_weights)


def frozen_digest(model: tf.keras.Model) -> str | None:
    """SHA-256 of the frozen layers' names and weights; None of none."""
    frozen = [
        named
        for named in named_layers(model)
        if named.layer.weights and not named.is_trainable
    ]
    if not frozen:
        return None
    digest = hashlib.sha256()
    for named in frozen:
        digest.update(named.name.encode() + b"\0")
        digest.update(weights.sha256(named.layer.get_weights()).encode())
    return digest.hexdigest()


def merged(model: tf.keras.Model, trained: Weights) -> list[np.ndarray]:
    """All weights, as `get_weights` has them, of which some were trained.

    Args:
      model: With the weights that are frozen.
      trained: In the place of its trainable weights, in their order.
    """
    given = zip(model.trainable_weights, trained, strict=True)
    by_id = {id(variable): value for variable, value in given}
    return [
        np.asarray(by_id[id(v)]) if id(v) in by_id else v.numpy()
        for v in model.weights
    ]


def assign(model: tf.keras.Model, trained: Sequence) -> None:
    """Sets the trainable weights, in their order."""
    for variable, value in zip(model.trainable_weights, trained, strict=True):
        variable.assign(value)


def match(copy: tf.keras.Model, model: tf.keras.Model) -> None:
    """Freezes in a copy what is frozen in the model, with the same weights."""
    pairs = zip(layers_of(copy), layers_of(model), strict=True)
    frozen = {id(n.layer) for n in named_layers(model) if not n.is_trainable}
    for own, layer in pairs:
        own.trainable = id(layer) not in frozen
        if not own.trainable:
            own.set_weights(layer.get_weights())


def training_copy(
    model: tf.keras.Model,
    compute_dtype: str,
    replaced: Mapping[type, type] = types.MappingProxyType({}),
) -> tf.keras.Model:
    """`seeded_layers.training_copy`, in which the same is frozen."""
    copy = seeded_layers.training_copy(model, compute_dtype, replaced)
    match(copy, model)
    return copy
