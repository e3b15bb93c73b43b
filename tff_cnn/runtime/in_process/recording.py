"""Reading a recorded graph, and recording its operations again."""

import heapq
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def needed(graph) -> list[tf.Operation]:
    """Operations that the outputs depend on, and effects, inputs first."""
    needed, pending = set(), [tensor.op for tensor in graph.outputs]
    pending += graph.control_outputs
    while pending:
        op = pending.pop()
        if op not in needed:
            needed.add(op)
            pending += [tensor.op for tensor in op.inputs]
            pending += op.control_inputs
    return _inputs_first(
        [
            op
            for op in graph.get_operations()
            if op in needed and op.type not in ("Placeholder", "NoOp")
        ]
    )


def _inputs_first(operations: list[tf.Operation]) -> list[tf.Operation]:
    """Operations such that each comes after those whose results it reads.

    They are recorded so, but for a loop whose gradient was asked for later: it
    is given lists to fill, made after it.
    """
    place = {op: number for number, op in enumerate(operations)}
    readers: dict[tf.Operation, list[tf.Operation]] = {}
    missing = {}
    for op in operations:
        read = {t.op for t in op.inputs} & place.keys()
        missing[op] = len(read)
        for source in read:
            readers.setdefault(source, []).append(op)
    ready = [place[op] for op in operations if not missing[op]]
    ordered = []
    while ready:
        op = operations[heapq.heappop(ready)]
        ordered.append(op)
        for reader in readers.get(op, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, place[reader])
    if len(ordered) < len(operations):
        return operations  # Loops of TensorFlow 1, which go round.
    return ordered


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


def plain(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor that a tensor is a copy of."""
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor
