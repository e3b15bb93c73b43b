"""Reading a recorded graph, and recording its operations again."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def needed(graph) -> list[tf.Operation]:
    """Operations that the outputs depend on, and effects, in order."""
    needed, pending = set(), [tensor.op for tensor in graph.outputs]
    pending += graph.control_outputs
    while pending:
        op = pending.pop()
        if op not in needed:
            needed.add(op)
            pending += [tensor.op for tensor in op.inputs]
            pending += op.control_inputs
    return [
        op
        for op in graph.get_operations()
        if op in needed and op.type not in ("Placeholder", "NoOp")
    ]


def emit(
    op: tf.Operation, inputs: Sequence[tf.Tensor], **changed: Any
) -> list[tf.Tensor]:
    """Records `op` again, on other inputs and with some attributes changed."""
    attributes = {
        name: value
        for name, value in op.node_def.attr.items()
        if not name.startswith("_")
    }
    for name, value in changed.items():
        attributes[name] = tf.compat.v1.AttrValue()
        attributes[name].CopyFrom(value)
    new = tf.compat.v1.get_default_graph().create_op(
        op.type,
        list(inputs),
        [tensor.dtype for tensor in op.outputs],
        attrs=attributes,
    )
    return list(new.outputs)


def replace(
    old: tf.Tensor, new: tf.Tensor, readers: Sequence[tf.Operation]
) -> None:
    """Lets operations that read `old` read `new`."""
    for reader in readers:
        for index, tensor in enumerate(reader.inputs):
            if tensor is old:
                reader._update_input(index, new)
