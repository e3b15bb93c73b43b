"""Runs a plan: server steps and passes over the clients, stage by stage.

for each stage:
    server step       one fused TensorFlow function (`fusion`), once
    pass over clients one call for each group of clients (`client_pass`);
                      results are reduced in the clients' order as they
                      arrive (`_Totals`)
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import numpy as np
import tensorflow as tf

from tff_cnn.core import secure_sums
from tff_cnn.runtime.in_process import plan as plans
from tff_cnn.runtime.in_process.client_pass import (
    ClientError,
    ClientPass,
    to_array,
)
from tff_cnn.runtime.in_process.fusion import (
    ClientFunction,
    FusedFunction,
    LeafValue,
    is_sequence,
)
from tff_cnn.runtime.in_process.plan import (
    CLIENTS,
    SERVER,
    Constant,
    Input,
    Leaf,
    Output,
    Plan,
    Reduction,
)
from tff_cnn.runtime.in_process.rows import Rows, build_rows, trimming
from tff_cnn.runtime.in_process.schedule import Schedule


@dataclasses.dataclass
class _Stage:
    """One stage of a compiled plan; None where there is nothing to do."""

    server: FusedFunction | None
    clients: ClientFunction | None
    reductions: list[Reduction]
    accumulators: dict[Reduction, "_Accumulator"]
    kept: list[Leaf]


class Executable:
    """A plan, compiled; may be run many times."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._results = plans.leaves(plan.result)
        self._slots = {
            r: [Leaf(leaf.type, SERVER, r.stage) for leaf in r.zero]
            for r in plan.reductions
            if r.accumulate is not None
        }
        self._accumulated = {
            r: r.accumulate(slots, r.sources)
            for r, slots in self._slots.items()
        }
        self._needs_dataset = self._leaves_read_as_datasets()
        stages = [leaf.stage for leaf in self._results]
        stages += [call.stage for call in plan.calls]
        stages += [reduction.stage for reduction in plan.reductions]
        self._stages = [
            self._compile(stage) for stage in range(max(stages, default=0) + 1)
        ]

    def as_element(self, leaf: Leaf) -> bool:
        """Whether a sequence is given as its single element's tensors."""
        return is_sequence(leaf) and leaf not in self._needs_dataset

    def run(
        self,
        server_values: dict[Leaf, LeafValue],
        client_values: Callable[[int, Leaf], LeafValue],
        num_clients: int,
        schedule: Schedule,
        pool: Executor,
    ) -> tuple[dict[Leaf, LeafValue], dict[Leaf, list[LeafValue]]]:
        """Runs the plan.

        Args:
          server_values: Of inputs at the server.
          client_values: (client, input leaf at the clients) -> value.
          num_clients: Size of the cohort, >= 0.
          schedule: How the clients are divided.
          pool: Threads for the clients.

        Returns:
          Values of leaves at the server, and of those at the clients that
          outlive their stage.
        """
        known = dict(server_values)
        kept: dict[Leaf, list[LeafValue]] = {}
        collected: list[Rows] = []
        for stage in self._stages:
            if stage.server is not None:
                with trimming(collected):
                    _run_server(stage.server, known)
            if stage.clients is None and not stage.reductions:
                continue
            collected += self._run_clients(
                stage, known, kept, client_values, num_clients, schedule, pool
            )
        return known, kept

    def _run_clients(
        self, stage, known, kept, client_values, num_clients, schedule, pool
    ) -> list[Rows]:
        totals = [
            _Totals(r, stage.accumulators, known, num_clients)
            for r in stage.reductions
        ]
        kept.update({leaf: [] for leaf in stage.kept})

        def value_of(client, leaf):
            if leaf in kept:
                return kept[leaf][client]
            return client_values(client, leaf)

        rows = iter([()] * num_clients)
        outputs = []
        if stage.clients is not None:
            outputs = stage.clients.outputs
            shared = {i: known[i] for i in stage.clients.inputs if i in known}
            rows = ClientPass(
                stage.clients, shared, value_of, num_clients, schedule, pool
            ).rows()
        for client, row in enumerate(rows):
            values = dict(zip(outputs, row, strict=True))
            for leaf in stage.kept:
                value = values[leaf]
                if isinstance(value, np.ndarray):
                    # A view would keep its whole group in memory.
                    value = value.copy()
                kept[leaf].append(value)
            for total in totals:
                total.add(values, client)
        for total in totals:
            total.finish()
        return [rows for total in totals for rows in total.rows]

    def _compile(self, stage: int) -> _Stage:
        reductions = [r for r in self._plan.reductions if r.stage == stage]

        def is_at(place):
            return lambda call: call.place == place and call.stage == stage

        here = set(reductions)
        kept = self._outliving(is_at(CLIENTS), here)
        sources = [leaf for r in reductions for leaf in r.sources]
        client_outputs = [leaf for leaf in sources if leaf.place == CLIENTS]
        clients = self._fuse(kept + client_outputs, is_at(CLIENTS))
        return _Stage(
            self._fuse(self._outliving(is_at(SERVER), set()), is_at(SERVER)),
            clients and ClientFunction(clients),
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
        new = self._accumulated[reduction]
        function = FusedFunction(
            new, lambda call: call not in ours, self.as_element
        )
        return _Accumulator(function, self._slots[reduction], new)

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
                read += reduction.maxima + reduction.moduli
        return [
            leaf
            for leaf in dict.fromkeys(read)
            if isinstance(leaf, Output) and is_inside(leaf.call)
        ]

    def _leaves_read_as_datasets(self) -> set[Leaf]:
        found = {leaf for leaf in self._results if is_sequence(leaf)}
        accumulating = [
            leaf for new in self._accumulated.values() for leaf in new
        ]
        for call in {*self._plan.calls, *plans.calls_of(accumulating)}:
            for leaf, takes_element in zip(
                call.arguments, call.function.takes_element, strict=True
            ):
                if is_sequence(leaf) and not takes_element:
                    found.add(leaf)
                elif is_sequence(leaf) and not isinstance(leaf, Input):
                    found.add(leaf)
        return found


@dataclasses.dataclass
class _Accumulator:
    """(slots, sources) -> new, for reductions of kind "accumulate"."""

    function: FusedFunction
    slots: list[Leaf]
    new: list[Leaf]


class _Totals:
    """The running result of one reduction.

    Attributes:
      rows: What it collects, of each source.
    """

    def __init__(
        self, reduction: Reduction, accumulators, known, num_clients: int
    ):
        self._reduction = reduction
        self._num_clients = num_clients
        self._accumulator = accumulators.get(reduction)
        self._known = known
        self._totals = [_value(z, known) for z in reduction.zero]
        self._maxima = [np.asarray(_value(m, known)) for m in reduction.maxima]
        moduli = [int(_value(m, known)) for m in reduction.moduli]
        self._secure = (
            secure_sums.begun(moduli, num_clients) if moduli else None
        )
        self.rows: list[Rows] = []
        if reduction.kind == "collect":
            starts = [to_array(total) for total in self._totals]
            self.rows = build_rows(starts, num_clients)

    def add(self, values: dict[Leaf, Any], client: int) -> None:
        """Adds one client.

        Args:
          values: Its leaves.
          client: Index in the cohort.

        Raises:
          ClientError: A value is above its maximum.
        """
        sources = [
            values[leaf] if leaf in values else _value(leaf, self._known)
            for leaf in self._reduction.sources
        ]
        if self._accumulator is not None:
            self._totals = self._accumulate(sources)
            return
        arrays = [to_array(source) for source in sources]
        if self._reduction.kind == "collect":
            for rows, array in zip(self.rows, arrays, strict=True):
                rows.append(array)
            return
        if self._secure is not None:
            self._secure.add(client, arrays)
            return
        for array, maximum in zip(arrays, self._maxima, strict=False):
            if np.any(array > maximum):
                raise ClientError(
                    f"client {client} of {self._num_clients} failed: its value "
                    f"{array.max()} in a secure sum is larger than the maximum "
                    f"{maximum}."
                )
        if not self._totals:
            self._totals = [array.copy() for array in arrays]
            return
        combine = _COMBINE[self._reduction.kind]
        self._totals = [
            combine(total, array, out=total if total.ndim else None)
            for total, array in zip(self._totals, arrays, strict=True)
        ]

    def finish(self) -> None:
        """Writes the result where the server's values are."""
        reduction = self._reduction
        if self._secure is not None:
            self._totals = self._secure.finish()
        if self.rows:
            self._totals = [rows.tensor() for rows in self.rows]
        totals = self._totals or [
            _neutral(reduction, source) for source in reduction.sources
        ]
        self._known.update(zip(reduction.results, totals, strict=True))

    def _accumulate(self, sources) -> list[LeafValue]:
        accumulator = self._accumulator
        given = dict(self._known)
        given.update(zip(accumulator.slots, self._totals, strict=True))
        given.update(zip(self._reduction.sources, sources, strict=True))
        function = accumulator.function
        outputs = function([_to_tensors(given[i]) for i in function.inputs])
        found = dict(zip(function.outputs, outputs, strict=True))
        return [found[leaf] for leaf in accumulator.new]


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
    is_integer = np.issubdtype(dtype, np.integer)
    limits = np.iinfo(dtype) if is_integer else np.finfo(dtype)
    return np.full(shape, limits.max if is_min else limits.min, dtype)


def _run_server(step: FusedFunction, known: dict[Leaf, LeafValue]) -> None:
    outputs = step([_to_tensors(known[leaf]) for leaf in step.inputs])
    known.update(zip(step.outputs, outputs, strict=True))


def _value(leaf: Leaf, known: dict[Leaf, LeafValue]) -> LeafValue:
    return leaf.value if isinstance(leaf, Constant) else known[leaf]


def _to_tensors(value: LeafValue) -> LeafValue:
    if isinstance(value, list):
        return [tf.convert_to_tensor(v) for v in value]
    return tf.convert_to_tensor(value)
