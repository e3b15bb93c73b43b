"""Keras models as pure functions of their weights.

A model is called once, eagerly, while its variables are read as tensors that
the recorded graph takes as further arguments. The graph is used as it was
recorded, not through a serialized form: functions within it, as those of
recurrent layers, and gradients of a layer's own are known to Python only.
(TFF's own `functional_model_from_keras` builds Keras layers inside the
TensorFlow graph of a computation instead, which switches Keras' classes to
their TF 1 versions and so breaks every Keras model that the program holds.)
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry, ops

from tff_cnn.core.errors import UsageError
from tff_cnn.models import seeded_layers

# Has no effect but to stop what is wrong.
_HARMLESS = ("Placeholder", "Assert")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# What makes of a variable one that is read as a tensor.
_REPLACED = (
    *("_read_variable_op", "sparse_read", "gather_nd"),
    *("assign", "assign_add", "assign_sub"),
)


def pure_function(
    keras_model: tf.keras.Model,
    call: Callable,
    further_specs: Sequence = (),
    in_images: bool = False,
) -> Callable:
    """`call` as a function (weights, arguments) that owns no variables.

    `call` takes images, a seed (int64, [2]; the function also takes int32), and
    what has `further_specs`.

    Args:
      keras_model: Whose variables `call` reads.
      call: Recorded once.
      further_specs: Of its arguments behind images and seed.
      in_images: Whether the function is differentiable in images; else it is in
        weights. (Of both, what nobody asks for would be computed.)

    Raises:
      UsageError: The model has other state or randomness, or gradients of its
        own with respect to weights; naming the layer.
    """
    specs = [
        tf.TensorSpec(keras_model.input_shape, tf.float32),
        tf.TensorSpec([2], tf.int64),
        *further_specs,
    ]
    # Of mixed precision a variable is wrapped.
    trained, frozen = (
        [getattr(variable, "_variable", variable) for variable in variables]
        for variables in (
            keras_model.trainable_variables,
            keras_model.non_trainable_variables,
        )
    )
    num_weights = len(trained)
    constants = [variable.numpy() for variable in frozen]

    def call_with(*tensors):
        given, (images, *further) = tensors[:num_weights], tensors[num_weights:]
        if in_images:
            given = map(tf.stop_gradient, given)
        else:
            images = tf.stop_gradient(images)
        weights = [*given, *map(tf.constant, constants)]
        with _read_as([*trained, *frozen], weights):
            return call(images, *further)

    wrapped = tf.compat.v1.wrap_function(
        call_with,
        [*(tf.TensorSpec(v.shape, v.dtype) for v in trained), *specs],
    )
    seeded_layers.check_draws(keras_model)
    _check_is_pure(wrapped.graph, keras_model)
    _check_is_differentiable(wrapped.graph, keras_model)
    # A tensor of eager TensorFlow cannot go into a graph.
    wrapped.set_external_captures(
        [
            functools.partial(tf.constant, captured.numpy())
            for captured in wrapped.captured_inputs
        ]
    )

    def function(weights, arguments):
        images, seed, *further = arguments
        tensors = [*weights, images, tf.cast(seed, tf.int64), *further]
        return wrapped(*map(tf.convert_to_tensor, tensors))

    is_trained = not further_specs and not in_images
    if is_trained and _has_own_gradients(wrapped.graph):
        _check_gradients(function, call, keras_model)
    return function


@contextlib.contextmanager
def _read_as(
    variables: Sequence[tf.Variable], tensors: Sequence[tf.Tensor]
) -> Iterator[None]:
    """Lets whoever reads a variable get a tensor.

    Raises:
      UsageError: When it ends, if one was assigned to.
    """
    assigned = []
    handles = [variable._handle for variable in variables]
    for variable, tensor in zip(variables, tensors, strict=True):

        def assign(*args, name=variable.name, tensor=tensor, **kwargs):
            assigned.append(name)
            return tensor

        # A gradient with respect to rows would be one of another kind;
        # through a reshape it becomes a tensor.
        rows = tf.reshape(tensor, tensor.shape)
        vars(variable).update(
            _handle=tensor,
            _read_variable_op=lambda no_copy=False, tensor=tensor: tensor,
            sparse_read=functools.partial(tf.gather, rows),
            gather_nd=functools.partial(tf.gather_nd, rows),
            assign=assign,
            assign_add=assign,
            assign_sub=assign,
        )
    try:
        yield
    finally:
        for variable, handle in zip(variables, handles, strict=True):
            for name in _REPLACED:
                del vars(variable)[name]
            variable._handle = handle
    if assigned:
        raise UsageError(
            f"a layer assigns to its weight {assigned[0]!r} when it is called: "
            "let the optimizer alone change it."
        )


def _check_is_pure(graph, keras_model: tf.keras.Model) -> None:
    """Raises where something is kept or drawn besides weights and arguments."""
    library = {
        function.signature.name: function
        for function in graph.as_graph_def().library.function
    }
    for op in graph.get_operations():
        found = _effect(op.node_def, library)
        if found is not None:
            raise UsageError(
                f"{_place(op, keras_model)} keeps or draws state of its own "
                f"({found}): use layers that are functions of their weights "
                "and input (or Keras' own of dropout and noise, which are "
                "given a seed)."
            )


def _check_is_differentiable(graph, keras_model: tf.keras.Model) -> None:
    """Raises where an operation between inputs and outputs has no gradient."""
    reached = {t.ref() for t in graph.inputs if t.dtype.is_floating}
    for op in graph.get_operations():
        if not any(tensor.ref() in reached for tensor in op.inputs):
            continue
        reached.update(t.ref() for t in op.outputs if t.dtype.is_floating)
        try:
            if op.type not in _CALLS:
                ops.get_gradient_function(op)
        except LookupError:
            raise UsageError(
                f"{_place(op, keras_model)} cannot be trained: TensorFlow has "
                f"no gradient of its operation {op.type}."
            ) from None


def _effect(node, library) -> str | None:
    """The operation of a node, or in functions it calls, that has an effect."""
    called = [
        library[name]
        for attr in node.attr.values()
        for name in (attr.func.name, *(f.name for f in attr.list.func))
        if name in library
    ]
    for function in called:
        for inner in function.node_def:
            found = _effect(inner, library)
            if found is not None:
                return found
    if called or node.op in _HARMLESS:
        return None
    is_stateful = op_def_registry.get(node.op).is_stateful
    return node.op if is_stateful else None


def _has_own_gradients(graph) -> bool:
    """Whether a layer says what its gradient is (`tf.custom_gradient`)."""
    graph_def = graph.as_graph_def()
    bodies = [graph_def.node, *(f.node_def for f in graph_def.library.function)]
    return any(
        node.attr["_gradient_op_type"].s.startswith(b"CustomGradient")
        for body in bodies
        for node in body
    )


def _check_gradients(function, call, keras_model: tf.keras.Model) -> None:
    """Raises unless gradients are those of the model with its variables.

    A layer's own gradient can be of its arguments alone and not of weights
    that it reads, or read variables when it is too late.
    """
    rng = np.random.default_rng(0)
    shape = [size or 32 for size in keras_model.input_shape[1:]]
    images = rng.random([2, *shape], np.float32)
    seed = tf.zeros([2], tf.int64)
    weights = keras_model.trainable_variables
    outputs = function(weights, [images, seed])
    projection = rng.normal(size=outputs.shape).astype(np.float32)

    def own():
        with tf.GradientTape() as tape:
            outputs = call(images, seed)
        return tape.gradient(outputs, weights, projection)

    def gradients(*weights):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs = function(weights, [images, seed])
        return tape.gradient(outputs, weights, projection)

    refusal = (
        f"model {keras_model.name!r} has a layer with a gradient of its own "
        "(tf.custom_gradient) that depends on weights otherwise than through "
        "its arguments: pass it the weights as arguments."
    )
    specs = [tf.TensorSpec(w.shape, w.dtype) for w in weights]
    try:
        recorded = tf.compat.v1.wrap_function(gradients, specs)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(refusal) from error
    if any(x.dtype == tf.resource for x in recorded.captured_inputs):
        raise UsageError(refusal)
    found = recorded(*(w.value() for w in weights))
    # Recorded as well: Keras draws masks in another order where it is not.
    expected = tf.compat.v1.wrap_function(own, [])()
    for one, other in zip(found, expected, strict=True):
        if (one is None) != (other is None):
            raise UsageError(refusal)
        if one is not None and not np.allclose(
            one, tf.convert_to_tensor(other), 1e-3, 1e-5
        ):
            raise UsageError(refusal)


def _place(op: tf.Operation, keras_model: tf.keras.Model) -> str:
    """The layer that an operation is of, as its name tells."""
    scopes = op.name.split("/")
    for layer in seeded_layers.layers_of(keras_model):
        if layer.name in scopes:
            return f"{type(layer).__name__} layer {layer.name!r}"
    return f"the model's operation {op.name!r}"
