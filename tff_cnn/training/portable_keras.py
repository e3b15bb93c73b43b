"""A `.keras` file that TensorFlow 2.14 and today's Keras both read.

Keras 2.14, which TensorFlow Federated needs, and Keras 3 write the same zip of
a config and weights, with three differences. The config names classes by
modules that Keras 3 has not; it spells out arguments of base classes that some
layers of Keras 3 do not take; and the weights of layers are a group of another
name. Both read a file whose functional model is a `keras.Model`, whose layers
leave out arguments of base classes that have their default, and whose group has
both names.
"""

import inspect
import json
import pathlib
import tempfile
import zipfile
from typing import Any

import h5py
import tensorflow as tf

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
# Of the group of a model's layers, in Keras 2.14 and in Keras 3.
_LAYERS, _KERAS3_LAYERS = "_layer_checkpoint_dependencies", "layers"


def save(model: tf.keras.Model, path: pathlib.Path) -> None:
    """Writes `model` to `path`, which ends in ".keras".

    Args:
      model: Functional and flat (`rebuild`), of Keras' own layers: Keras 3 does
        not read others without their code, and `Lambda` not without
        `safe_mode=False`.
      path: Replaced where it exists.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model.save(folder / path.name)
        with zipfile.ZipFile(folder / path.name) as archive:
            archive.extractall(folder)
            members = archive.namelist()
        config = json.loads((folder / _CONFIG).read_text())
        (folder / _CONFIG).write_text(json.dumps(_portable(config)))
        with h5py.File(folder / _WEIGHTS, "r+") as weights:
            weights[_KERAS3_LAYERS] = weights[_LAYERS]  # The same group.
        with zipfile.ZipFile(path, "w") as archive:
            for member in members:
                archive.write(folder / member, member)


def rebuild(model: tf.keras.Model, input_tensor: Any) -> Any:
    """The output of `model`'s own layers, called anew on another tensor.

    Of models within the model their layers are called, so that what is built
    from the result is flat. (Keras 3 counts the calls of a model within a model
    differently, and then finds other tensors.)

    Args:
      model: Functional or sequential, with one input and one output.
      input_tensor: A Keras tensor in the place of the input.
    """
    return _rebuilt(model.outputs[0], {id(model.inputs[0]): input_tensor})


def _rebuilt(tensor: Any, known: dict[int, Any]) -> Any:
    """`tensor` in the new graph; `known` maps ids of old ones to new ones."""
    if id(tensor) in known:
        return known[id(tensor)]
    layer, node_index, _ = tensor._keras_history
    node = layer.inbound_nodes[node_index]

    def new(argument):
        if tf.keras.backend.is_keras_tensor(argument):
            return _rebuilt(argument, known)
        return argument

    args, kwargs = tf.nest.map_structure(
        new, (node.call_args, node.call_kwargs)
    )
    if isinstance(layer, tf.keras.Model):
        inner = zip(layer.inputs, tf.nest.flatten(args), strict=True)
        inner = {id(old): new for old, new in inner}
        results = [_rebuilt(output, inner) for output in layer.outputs]
    else:
        results = tf.nest.flatten(layer(*args, **kwargs))
    for old, result in zip(tf.nest.flatten(node.outputs), results, strict=True):
        known[id(old)] = result
    return known[id(tensor)]


def _portable(value: Any) -> Any:
    """A config, or a part of it, in the form that both read."""
    if isinstance(value, list):
        return [_portable(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _portable(item) for key, item in value.items()}
    if value.get("class_name") == "Functional":
        value |= {"module": "keras", "class_name": "Model"}
        value["registered_name"] = None
    elif value.get("module") == "keras.layers":
        layer = getattr(tf.keras.layers, value["class_name"])
        value["config"] = _without_inherited(layer, value["config"])
    return value


def _without_inherited(layer: type, config: dict) -> dict:
    """`config` without arguments of classes above `layer` that are defaults."""
    own = inspect.signature(layer.__init__).parameters
    inherited = {
        name: parameter.default
        for cls in reversed(layer.__mro__[1:-1])
        for name, parameter in inspect.signature(
            cls.__init__
        ).parameters.items()
        if name not in own
    }
    return {
        name: value
        for name, value in config.items()
        if name not in inherited or not _equals(value, inherited[name])
    }


def _equals(value: Any, default: Any) -> bool:
    """Whether a config's argument is the default, which may be a name."""
    if isinstance(value, dict) and isinstance(default, str):
        return value["class_name"].lower() == default.replace("_", "")
    return value == default
