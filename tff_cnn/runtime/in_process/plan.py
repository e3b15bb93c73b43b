"""Plans: which tensors of a computation follow from which.

A plan is a graph of leaves (symbols for tensors) and of

- `TensorCall`s: one TensorFlow graph applied to leaves, at the server once or
  at the clients for each of them, and
- `Reduction`s: over the clients, of leaves at the clients.

Each leaf has a stage: the number of reductions that must have been completed
before it can be computed. All that clients do in one stage is one pass over
the clients, and only what a later stage needs outlives a client's turn.

Selecting from a structure, zipping, broadcasting and placing cost nothing:
they only say which leaf stands where.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process.graph_function import GraphFunction

SERVER, CLIENTS = "server", "clients"


@dataclasses.dataclass(eq=False)
class Leaf:
    """A tensor or a sequence, at the server or one at each client.

    Attributes:
      type: `tff.TensorType` or `tff.SequenceType`.
      place: `SERVER` or `CLIENTS`; what is not placed is at the server.
      stage: See the module.
    """

    type: tff.Type
    place: str
    stage: int


@dataclasses.dataclass(eq=False)
class Input(Leaf):
    """A leaf of the computation's argument; `index` counts them in order."""

    index: int


@dataclasses.dataclass(eq=False)
class Constant(Leaf):
    """A value that the computation itself contains."""

    value: np.ndarray


@dataclasses.dataclass(eq=False)
class Output(Leaf):
    """The result of a `TensorCall` at a position."""

    call: "TensorCall"
    index: int


@dataclasses.dataclass(eq=False)
class Reduced(Leaf):
    """The result of a `Reduction` at a position, at the server."""

    reduction: "Reduction"
    index: int


@dataclasses.dataclass(eq=False)
class TensorCall:
    """One application of a TensorFlow graph; runs once a place and round."""

    function: "GraphFunction | Operation"
    arguments: list[Leaf]
    place: str
    stage: int


@dataclasses.dataclass(eq=False)
class Reduction:
    """A reduction over the clients, in the clients' order.

    Attributes:
      kind: "sum", "min" or "max" of each source by itself, "collect", which
        puts all values of each below one another, or "accumulate".
      sources: Leaves at the clients, all of one stage.
      zero: Where the accumulator starts ("accumulate"), or what the values are
        put below ("collect"): leaves at the server.
      accumulate: (accumulator leaves, source leaves) -> new accumulator.
      maxima: The largest values that sources may have ("sum"): a leaf at the
        server for each source, or none where there are no limits.
      moduli: What a secure sum is taken modulo ("sum"): a leaf at the server
        for each source, or none where it is a plain sum.
      results: The leaves at the server that it yields.
    """

    kind: str
    sources: list[Leaf]
    stage: int
    zero: list[Leaf] = dataclasses.field(default_factory=list)
    accumulate: Callable[[list[Leaf], list[Leaf]], list[Leaf]] | None = None
    maxima: list[Leaf] = dataclasses.field(default_factory=list)
    moduli: list[Leaf] = dataclasses.field(default_factory=list)
    results: list[Reduced] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Record:
    """A structure of values, as `tff.StructType`; names may be None."""

    names: tuple[str | None, ...]
    items: tuple[Any, ...]

    def select(self, name: str | None, index: int | None) -> Any:
        if index is None:
            index = self.names.index(name)
        return self.items[index]


Function = Callable[[Any, str], Any]  # (argument, place) -> result
Value = Leaf | Record | Function


@dataclasses.dataclass
class Plan:
    """What a computation computes.

    Attributes:
      inputs: Leaves of the argument, in order.
      result: Leaves in the structure of the result.
      calls: All calls, each after what it depends on.
      reductions: All reductions, likewise.
    """

    inputs: list[Input]
    result: Value
    calls: list[TensorCall]
    reductions: list[Reduction]


@dataclasses.dataclass(frozen=True)
class Operation:
    """A function of tensors that stands where a TFF graph could."""

    compute: Callable[..., list[tf.Tensor]]
    takes_element: list[bool]

    def __call__(self, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        return self.compute(*inputs)


def evaluate(outputs: list[Leaf], known: dict[Leaf, Any]) -> list[Any]:
    """Records the calls between `known` leaves and `outputs`; in a graph.

    Each call is made once, however many of its outputs are used: it may draw
    random numbers.
    """
    results: dict[TensorCall, list] = {}

    def value_of(leaf):
        if leaf in known:
            return known[leaf]
        if isinstance(leaf, Constant):
            return tf.constant(leaf.value)
        call = leaf.call
        if call not in results:
            results[call] = call.function(list(map(value_of, call.arguments)))
        return results[call][leaf.index]

    return list(map(value_of, outputs))


def calls_of(outputs: list[Leaf]) -> set[TensorCall]:
    """All calls that outputs follow from."""
    found, pending = set(), list(outputs)
    while pending:
        leaf = pending.pop()
        if isinstance(leaf, Output) and leaf.call not in found:
            found.add(leaf.call)
            pending += leaf.call.arguments
    return found


class LocalFunction:
    """Calls that are made within an operation, for each of many values.

    Attributes:
      captured: Leaves that they take from outside.
    """

    def __init__(
        self,
        parameters: list[Leaf],
        results: list[Leaf],
        calls: list[TensorCall],
    ):
        self._parameters = parameters
        self._results = results
        inside = set(calls)
        read = [*results, *(leaf for c in calls for leaf in c.arguments)]
        self.captured = [
            leaf
            for leaf in dict.fromkeys(read)
            if leaf not in parameters
            and not isinstance(leaf, Constant)
            and not (isinstance(leaf, Output) and leaf.call in inside)
        ]

    def __call__(
        self, arguments: Sequence[tf.Tensor], captured: Sequence[tf.Tensor]
    ) -> list[tf.Tensor]:
        """The results of the calls; in a graph."""
        known = dict(zip(self._parameters, arguments, strict=True))
        known.update(zip(self.captured, captured, strict=True))
        return evaluate(self._results, known)


def leaves(value: Value) -> list[Leaf]:
    """The leaves of a value, in order."""
    if isinstance(value, Leaf):
        return [value]
    if isinstance(value, Record):
        return [leaf for item in value.items for leaf in leaves(item)]
    raise NotImplementedError("a function cannot be a value at run time.")
