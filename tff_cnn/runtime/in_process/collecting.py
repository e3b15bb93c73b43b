"""Aggregations that do no more than to put clients' values below one another.

TFF's `federated_aggregate` calls its accumulator for one client after the
other, and one that grows is copied by each call: a cohort's updates would be
copied as often as there are clients. Where every part of the accumulator is

    tf.concat([accumulator, tf.expand_dims(value, 0)], 0)

and nothing else, the values are kept as they come and stacked once.
"""

from collections.abc import Callable

import tensorflow as tf

from tff_cnn.runtime.in_process.graph_function import GraphFunction
from tff_cnn.runtime.in_process.plan import SERVER, Leaf, Output

Accumulate = Callable[[list[Leaf], list[Leaf]], list[Leaf]]


def appended(
    accumulate: Accumulate, zero: list[Leaf], sources: list[Leaf]
) -> list[Leaf] | None:
    """What is appended to each part of an accumulator; None if more is done.

    Args:
      accumulate: (accumulator, sources) -> new accumulator.
      zero: Where the accumulator starts.
      sources: Leaves at the clients.
    """
    slots = [Leaf(leaf.type, SERVER, leaf.stage) for leaf in zero]
    found = [
        _appended(slot, new, sources)
        for slot, new in zip(slots, accumulate(slots, sources), strict=True)
    ]
    return None if None in found else found


def _appended(slot: Leaf, new: Leaf, sources: list[Leaf]) -> Leaf | None:
    if not isinstance(new, Output):
        return None
    function, arguments = new.call.function, new.call.arguments
    if not isinstance(function, GraphFunction):
        return None
    graph, parameters, results = function.definition
    nodes = {node.name: node for node in graph.node}

    def argument(name: str) -> Leaf | None:
        name = _behind(nodes, name)
        return arguments[parameters.index(name)] if name in parameters else None

    concat = _node(nodes, results[new.index], "ConcatV2")
    if concat is None or len(concat.input) != 3 or concat.attr["N"].i != 2:
        return None
    many, row, axis = concat.input
    row = _node(nodes, row, "ExpandDims")
    if row is None or argument(many) is not slot:
        return None
    source = argument(row.input[0])
    if source not in sources or None in source.type.shape:
        return None  # Rows of one shape can be stacked.
    is_first_axis = _is_zero(nodes, axis) and _is_zero(nodes, row.input[1])
    return source if is_first_axis else None


def _behind(nodes, name: str) -> str:
    """The tensor that identities pass on under this name."""
    while (node := nodes[_operation(name)]).op == "Identity":
        name = node.input[0]
    return name if ":" in name else f"{name}:0"


def _node(nodes, name: str, kind: str):
    node = nodes[_operation(_behind(nodes, name))]
    return node if node.op == kind else None


def _is_zero(nodes, name: str) -> bool:
    node = _node(nodes, name, "Const")
    if node is None:
        return False
    value = tf.make_ndarray(node.attr["value"].tensor)
    return value.size == 1 and int(value.reshape(())) == 0


def _operation(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]
