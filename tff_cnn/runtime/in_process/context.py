"""A TFF execution context that computes in this process."""

import contextlib
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow_federated as tff

from tff_cnn.runtime.in_process import arguments, plan
from tff_cnn.runtime.in_process.client_pass import ClientError
from tff_cnn.runtime.in_process.execution import Executable
from tff_cnn.runtime.in_process.interpreter import (
    allow_deep_computations,
    build_plan,
)
from tff_cnn.runtime.in_process.schedule import Schedule, build


class InProcessContext(tff.framework.SyncContext):
    """Plans each computation once, and runs clients on a pool of threads."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule
        self._pool = self._new_pool()
        self._pool_is_free = threading.Lock()
        # By id, for as long as the computation itself is in use.
        self._compiled: dict[int, tuple[plan.Plan, Executable]] = {}

    def close(self) -> None:
        """Stops the threads, and lets all computations go."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._compiled.clear()

    def invoke(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        """Runs `comp` on `arg`; called by TFF."""
        made, executable = self._compile(comp)
        parameter, result_type = None, comp.type_signature
        if isinstance(result_type, tff.FunctionType):
            parameter, result_type = result_type.parameter, result_type.result
        server_values, clients, num_clients = _take_apart(
            arg, parameter, made.inputs, executable
        )
        try:
            with self._threads() as pool:
                known, kept = executable.run(
                    server_values,
                    lambda client, leaf: clients[leaf](client),
                    num_clients,
                    self.schedule,
                    pool,
                )
        except ClientError as error:
            signature = comp.type_signature.compact_representation()
            raise ClientError(
                f"{error} (in the computation {signature[:200]})"
            ) from error.__cause__

        def value_of(leaf, client):
            if isinstance(leaf, plan.Constant):
                return leaf.value
            if leaf in kept:
                return kept[leaf][client]
            if leaf in clients:
                return clients[leaf](client)
            return known[leaf]

        return arguments.to_python(
            made.result, result_type, value_of, num_clients
        )

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.schedule.threads, "clients")

    @contextlib.contextmanager
    def _threads(self) -> Iterator[ThreadPoolExecutor]:
        """Threads that no other call uses.

        A call within another, as in the generator of a client's data, would
        wait for ever for the thread that waits for it.
        """
        if self._pool_is_free.acquire(blocking=False):
            try:
                yield self._pool
            finally:
                self._pool_is_free.release()
            return
        pool = self._new_pool()
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _compile(self, comp) -> tuple[plan.Plan, Executable]:
        key = id(comp)
        if key not in self._compiled:
            # Without Grappler, which `desugar_and_transform_to_native` adds:
            # it lowers loops so that they cannot be part of a larger graph.
            native = tff.backends.native.transform_to_native_form(comp)
            made = build_plan(native)
            self._compiled[key] = made, Executable(made)
            weakref.finalize(comp, self._compiled.pop, key, None)
        return self._compiled[key]


def _take_apart(arg, parameter, inputs, executable):
    """Values of the inputs: at the server, and a function for the clients."""
    server_values, clients, sizes = {}, {}, set()
    remaining = iter(inputs)

    def leaf_value(leaf, value):
        if not isinstance(leaf.type, tff.SequenceType):
            return value
        if executable.as_element(leaf):
            return arguments.element_tensors(value, leaf.type)
        return arguments.dataset_variant(value, leaf.type)

    def visit(value, type_):
        if isinstance(type_, tff.FederatedType):
            if type_.placement is tff.CLIENTS and not type_.all_equal:
                visit_clients(value, type_.member)
            else:
                visit(value, type_.member)
        elif isinstance(type_, tff.StructType):
            types = [t for _, t in tff.structure.iter_elements(type_)]
            fields = arguments.field_values(value, type_)
            for field, field_type in zip(fields, types, strict=True):
                visit(field, field_type)
        else:
            (flat,) = arguments.flatten(value, type_)
            leaf = next(remaining)
            server_values[leaf] = leaf_value(leaf, flat)

    def visit_clients(values, member):
        if not isinstance(values, list | tuple):
            raise TypeError(
                "a value at clients is a list with one item a client, found "
                f"{type(values).__name__}."
            )
        sizes.add(len(values))
        num_leaves = len(list(_leaf_types(member)))
        leaves = [next(remaining) for _ in range(num_leaves)]
        for index, leaf in enumerate(leaves):

            def get(client, index=index, leaf=leaf):
                flat = list(arguments.flatten(values[client], member))
                return leaf_value(leaf, flat[index])

            clients[leaf] = get

    if parameter is not None:
        visit(arg, parameter)
    if len(sizes) > 1:
        raise ValueError(
            f"arguments at clients have different lengths: {sorted(sizes)}."
        )
    return server_values, clients, sizes.pop() if sizes else 0


def _leaf_types(type_):
    if isinstance(type_, tff.StructType):
        for _, item in tff.structure.iter_elements(type_):
            yield from _leaf_types(item)
    else:
        yield type_


@contextlib.contextmanager
def open_runtime(
    devices: Sequence[str] | None = None,
    threads: int | None = None,
    clients_per_step: int | None = None,
) -> Iterator[InProcessContext]:
    """Yields an execution context in this process; see `schedule.build`."""
    allow_deep_computations()
    context = InProcessContext(build(devices, threads, clients_per_step))
    try:
        yield context
    finally:
        context.close()
