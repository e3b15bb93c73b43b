"""Runs a plan: server steps and passes over the clients, stage by stage.

for each stage:
    server step       one fused TensorFlow function, once
    pass over clients one fused TensorFlow function a client, in parallel;
                      results are reduced in the clients' order as they
                      arrive, so only clients in flight are in memory
"""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.core.errors import FailedRunError
from tff_cnn.runtime.in_process import plan as plans
from tff_cnn.runtime.in_process.plan import (
    CLIENTS,
    SERVER,
    Constant,
    Input,
    Leaf,
    Output,
    Plan,
    Reduction,
    TensorCall,
)
from tff_cnn.runtime.in_process.types import nest_specs

# Value of a leaf: a tensor, or for a sequence the list of its element's
# tensors (if all who read it take its single element) or a dataset's variant.
LeafValue = Any


class ClientError(FailedRunError):
    """A client's part of a computation failed; names the client."""


class FusedFunction:
    """All calls between some leaves and some others as one `tf.function`."""

    def __init__(
        self,
        outputs: Sequence[Leaf],
        is_inside: Callable[[TensorCall], bool],
        as_element: Callable[[Leaf], bool],
    ):
        """Args:
        outputs: What to compute.
        is_inside: Which calls belong to this function; the results of others
          are inputs.
        as_element: Whether a sequence is given as its element's tensors.
        """
        self.outputs = list(dict.fromkeys(outputs))
        self._is_inside = is_inside
        self.inputs = self._boundary()
        specs = [_specs(leaf, as_element(leaf)) for leaf in self.inputs]
        # Recorded now, once: several threads would each record it anew.
        self._function = tf.function(
            self._compute, input_signature=specs, autograph=False
        ).get_concrete_function()

    def __call__(self, values: Sequence[LeafValue]) -> list[tf.Tensor]:
        """Values of `outputs`, given those of `inputs`."""
        return self._function(*values)

    def _boundary(self) -> list[Leaf]:
        found, seen, pending = [], set(), list(self.outputs)
        while pending:
            leaf = pending.pop(0)
            if leaf in seen or isinstance(leaf, Constant):
                continue
            seen.add(leaf)
            if isinstance(leaf, Output) and self._is_inside(leaf.call):
                pending += leaf.call.arguments
            else:
                found.append(leaf)
        return found

    def _compute(self, *values):
        known = dict(zip(self.inputs, values, strict=True))
        return plans.evaluate(self.outputs, known)


@dataclasses.dataclass
class _Stage:
    """One stage of a compiled plan; None where there is nothing to do."""

    server: FusedFunction | None
    clients: FusedFunction | None
    reductions: list[Reduction]
    accumulators: dict[Reduction, "_Accumulator"]
    kept: list[Leaf]


class Executable:
    """A plan, compiled; may be run many times."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._results = plans.leaves(plan.result)
        self._needs_dataset = self._leaves_read_as_datasets()
        stages = [leaf.stage for leaf in self._results]
        stages += [call.stage for call in plan.calls]
        stages += [reduction.stage for reduction in plan.reductions]
        self._stages = [
            self._compile(stage) for stage in range(max(stages, default=0) + 1)
        ]

    def as_element(self, leaf: Leaf) -> bool:
        """Whether a sequence is given as its single element's tensors."""
        return _is_sequence(leaf) and leaf not in self._needs_dataset

    def run(
        self,
        server_values: dict[Leaf, LeafValue],
        client_values: Callable[[int, Leaf], LeafValue],
        num_clients: int,
        pool: Executor,
        in_flight: int,
    ) -> tuple[dict[Leaf, LeafValue], dict[Leaf, list[LeafValue]]]:
        """Runs the plan.

        Args:
          server_values: Of inputs at the server.
          client_values: (client, input leaf at the clients) -> value.
          num_clients: Size of the cohort, >= 0.
          pool: Threads for the clients.
          in_flight: Clients that are computed or wait to be reduced.

        Returns:
          Values of leaves at the server, and of those at the clients that
          outlive their stage.
        """
        known = dict(server_values)
        kept: dict[Leaf, list[LeafValue]] = {}
        for stage in self._stages:
            if stage.server is not None:
                _run_server(stage.server, known)
            if stage.clients is None and not stage.reductions:
                continue
            one_pass = _Pass(stage, known, kept, client_values)
            one_pass.run(num_clients, pool, in_flight)
        return known, kept

    def _compile(self, stage: int) -> _Stage:
        reductions = [r for r in self._plan.reductions if r.stage == stage]

        def is_at(place):
            return lambda call: call.place == place and call.stage == stage

        here = set(reductions)
        kept = self._outliving(is_at(CLIENTS), here)
        sources = [leaf for r in reductions for leaf in r.sources]
        client_outputs = [leaf for leaf in sources if leaf.place == CLIENTS]
        return _Stage(
            self._fuse(self._outliving(is_at(SERVER), set()), is_at(SERVER)),
            self._fuse(kept + client_outputs, is_at(CLIENTS)),
            reductions,
            {
                r: self._fuse_accumulator(r)
                for r in reductions
                if r.accumulate is not None
            },
            kept,
        )

    def _fuse(self, outputs, is_inside) -> FusedFunction | None:
        if not outputs:
            return None
        return FusedFunction(outputs, is_inside, self.as_element)

    def _fuse_accumulator(self, reduction: Reduction) -> "_Accumulator":
        ours = set(self._plan.calls)
        slots = [
            Leaf(leaf.type, SERVER, reduction.stage) for leaf in reduction.zero
        ]
        new = reduction.accumulate(slots, reduction.sources)
        function = FusedFunction(
            new, lambda call: call not in ours, self.as_element
        )
        return _Accumulator(function, slots, new)

    def _outliving(self, is_inside, not_counting) -> list[Output]:
        """Outputs of calls inside that something outside reads.

        Reductions in `not_counting` do not count as outside: they take values
        as they come.
        """
        read = list(self._results)
        for call in self._plan.calls:
            if not is_inside(call):
                read += call.arguments
        for reduction in self._plan.reductions:
            if reduction not in not_counting:
                read += reduction.sources + reduction.zero
        return [
            leaf
            for leaf in dict.fromkeys(read)
            if isinstance(leaf, Output) and is_inside(leaf.call)
        ]

    def _leaves_read_as_datasets(self) -> set[Leaf]:
        found = {leaf for leaf in self._results if _is_sequence(leaf)}
        for call in self._plan.calls:
            for leaf, takes_element in zip(
                call.arguments, call.function.takes_element, strict=True
            ):
                if _is_sequence(leaf) and not takes_element:
                    found.add(leaf)
                elif _is_sequence(leaf) and not isinstance(leaf, Input):
                    found.add(leaf)
        return found


@dataclasses.dataclass
class _Accumulator:
    """(slots, sources) -> new, for reductions of kind "accumulate"."""

    function: FusedFunction
    slots: list[Leaf]
    new: list[Leaf]


class _Pass:
    """One pass over the clients."""

    def __init__(self, stage: _Stage, known, kept, client_values):
        self._stage = stage
        self._known = known
        self._kept = kept
        self._client_values = client_values
        self._outputs = stage.clients.outputs if stage.clients else []
        self._keep = stage.kept
        for leaf in self._keep:
            kept[leaf] = []
        self._totals = [
            [_value(z, known) for z in r.zero] for r in stage.reductions
        ]

    def run(self, num_clients: int, pool: Executor, in_flight: int) -> None:
        for values in self._in_order(num_clients, pool, in_flight):
            for leaf in self._keep:
                self._kept[leaf].append(values[leaf])
            for index, reduction in enumerate(self._stage.reductions):
                self._totals[index] = self._add(
                    reduction, self._totals[index], values
                )
        for reduction, totals in zip(
            self._stage.reductions, self._totals, strict=True
        ):
            if not totals:
                totals = [_neutral(reduction, s) for s in reduction.sources]
            self._known.update(zip(reduction.results, totals, strict=True))

    def _in_order(
        self, num_clients, pool, in_flight
    ) -> Iterator[dict[Leaf, LeafValue]]:
        """Each client's values, in the clients' order."""
        if self._stage.clients is None:
            yield from ({} for _ in range(num_clients))
            return
        inputs = self._stage.clients.inputs
        shared = {
            leaf: _to_tensors(self._known[leaf])
            for leaf in inputs
            if leaf in self._known
        }

        def compute(client):
            try:
                outputs = self._stage.clients(
                    [
                        shared[leaf]
                        if leaf in shared
                        else self._kept[leaf][client]
                        if leaf in self._kept
                        else self._client_values(client, leaf)
                        for leaf in inputs
                    ]
                )
            except Exception as error:
                raise ClientError(
                    f"client {client} of {num_clients} failed: "
                    f"{type(error).__name__}: {_first_line(error)}"
                ) from error
            return dict(zip(self._outputs, outputs, strict=True))

        waiting = collections.deque()
        try:
            for client in range(num_clients):
                waiting.append(pool.submit(compute, client))
                if len(waiting) >= in_flight:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _add(self, reduction: Reduction, totals, values):
        sources = [
            values[leaf] if leaf in values else _value(leaf, self._known)
            for leaf in reduction.sources
        ]
        if reduction.accumulate is not None:
            accumulator = self._stage.accumulators[reduction]
            given = dict(self._known)
            given.update(zip(accumulator.slots, totals, strict=True))
            given.update(zip(reduction.sources, sources, strict=True))
            function = accumulator.function
            outputs = function([_to_tensors(given[i]) for i in function.inputs])
            found = dict(zip(function.outputs, outputs, strict=True))
            return [found[leaf] for leaf in accumulator.new]
        arrays = [np.asarray(source) for source in sources]
        if not totals:
            return [array.copy() for array in arrays]
        combine = _COMBINE[reduction.kind]
        return [
            combine(total, array, out=total if total.ndim else None)
            for total, array in zip(totals, arrays, strict=True)
        ]


_COMBINE = {"sum": np.add, "min": np.minimum, "max": np.maximum}


def _neutral(reduction: Reduction, source: Leaf) -> np.ndarray:
    """The reduction of nobody."""
    shape, dtype = source.type.shape, source.type.dtype
    if None in shape:
        raise ValueError(
            f"a sum over no clients has no shape for {source.type}."
        )
    if reduction.kind == "sum":
        return np.zeros(shape, dtype)
    is_min = reduction.kind == "min"
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return np.full(shape, limits.max if is_min else limits.min, dtype)
    return np.full(shape, np.inf if is_min else -np.inf, dtype)


def _run_server(step: FusedFunction, known: dict[Leaf, LeafValue]) -> None:
    outputs = step([_to_tensors(known[leaf]) for leaf in step.inputs])
    known.update(zip(step.outputs, outputs, strict=True))


def _value(leaf: Leaf, known: dict[Leaf, LeafValue]) -> LeafValue:
    return leaf.value if isinstance(leaf, Constant) else known[leaf]


def _to_tensors(value: LeafValue) -> LeafValue:
    if isinstance(value, list):
        return [tf.convert_to_tensor(v) for v in value]
    return tf.convert_to_tensor(value)


def _is_sequence(leaf: Leaf) -> bool:
    return isinstance(leaf.type, tff.SequenceType)


def _specs(leaf: Leaf, as_element: bool):
    """What a fused function takes for a leaf."""
    if not _is_sequence(leaf):
        return tf.TensorSpec(leaf.type.shape, leaf.type.dtype)
    if as_element:
        return tf.nest.flatten(nest_specs(leaf.type.element))
    return tf.TensorSpec([], tf.variant)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]
