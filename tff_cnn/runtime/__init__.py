"""Where TFF computations run. Only entry points import this package.

    with runtime.use("native"):
        process.next(state, clients)

A runtime is a context manager that yields a TFF execution context and, on
leaving, leaves nothing behind: no process, no port.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from tff_cnn.core import registry
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import integers, option
from tff_cnn.core.registry import Registry
from tff_cnn.runtime import devices as device_names

AUTO = "auto"
_THREADS = integers(1, 1024)

# A runtime's builder gets `opening()` of its options. Fact: `prepare`, what is
# called with their `preparation()` before TensorFlow has computed anything.
RUNTIMES = Registry("runtime")


@RUNTIMES.entry("native", "tff_cnn.runtime.native:open_runtime")
@dataclasses.dataclass(frozen=True)
class Native:
    """TFF's C++ worker, in a process of its own."""

    def opening(self) -> dict[str, Any]:
        """Arguments of `use`."""
        return {}

    def preparation(self) -> dict[str, Any]:
        """Arguments of `prepare`."""
        return {}


def _check_clients_per_step(given: str) -> None:
    # Not `int` of whatever length: Python refuses more than 4,300 digits.
    is_number = given.isascii() and given.isdecimal() and len(given) < 10
    if given != AUTO and (not is_number or int(given) < 1):
        raise UsageError(
            f"<runtime.clients_per_step>={given} must be auto or an integer "
            ">= 1 (of at most nine digits)."
        )


def _check_devices(given: str) -> None:
    if given != AUTO:
        device_names.check_names(given.split(","))


@RUNTIMES.entry(
    "in_process",
    "tff_cnn.runtime.in_process.context:open_runtime",
    prepare="tff_cnn.runtime.in_process.schedule:prepare",
)
@dataclasses.dataclass(frozen=True)
class InProcess:
    """This process, on CPU or GPUs."""

    # How the work is divided changes rounding only.
    clients_per_step: str = option(
        AUTO,
        "Clients that are trained in one call, or auto: several where that is "
        "faster, small models on a CPU and all on a GPU.",
        check=_check_clients_per_step,
        material=False,
    )
    devices: str = option(
        AUTO,
        "Where clients are trained, as GPU:0,GPU:1; auto is all GPUs, or else "
        "the CPU.",
        check=_check_devices,
        material=False,
    )
    threads: int | None = option(
        None,
        "Calls at the same time (default: CPU cores; two for each GPU).",
        range=_THREADS,
        material=False,
    )
    intra_op_threads: int = option(
        1,
        "Threads that share one operation.",
        range=_THREADS,
        material=False,
    )
    inter_op_threads: int | None = option(
        None,
        "Threads that operations are dealt over (default: CPU cores, and two "
        "at least).",
        range=_THREADS,
        material=False,
    )

    def opening(self) -> dict[str, Any]:
        """Arguments of `use`."""
        size = self.clients_per_step
        return {
            "devices": self._device_names,
            "threads": self.threads,
            "clients_per_step": None if size == AUTO else int(size),
        }

    def preparation(self) -> dict[str, Any]:
        """Arguments of `prepare`."""
        return {
            "devices": self._device_names,
            "intra_op_threads": self.intra_op_threads,
            "inter_op_threads": self.inter_op_threads,
        }

    @property
    def _device_names(self) -> list[str] | None:
        return None if self.devices == AUTO else self.devices.split(",")


def close() -> None:
    """Puts no runtime into the place of TFF's own.

    That complains when Python ends and nothing was computed.
    """
    import tensorflow_federated as tff

    tff.framework.set_default_context(_closed_context())


def prepare(name: str, **options: Any) -> None:
    """What a runtime needs before TensorFlow has computed anything.

    Args:
      name: In `RUNTIMES`.
      **options: Of `in_process.schedule.prepare`.
    """
    close()
    preparation = RUNTIMES.find(name).facts.get("prepare")
    if preparation is not None:
        registry.load(preparation)(**options)


# Contexts of the runtimes that are open, the innermost last.
_open_contexts: list[Any] = []


@contextlib.contextmanager
def use(name: str, **options: Any) -> Iterator[None]:
    """Runs TFF computations on the named runtime while the context is open.

    Afterwards the runtime around it is used again, or none. (Importing TFF
    installs one that starts a worker at the first call and leaves it running
    for ever.)

    Args:
      name: In `RUNTIMES`.
      **options: Of the runtime's `open_runtime`.
    """
    import tensorflow_federated as tff

    tff.framework.set_default_context(_closed_context())
    with RUNTIMES.find(name).load()(**options) as context:
        _open_contexts.append(context)
        tff.framework.set_default_context(context)
        try:
            yield
        finally:
            _open_contexts.remove(context)
            outer = _open_contexts[-1] if _open_contexts else None
            tff.framework.set_default_context(outer or _closed_context())


def current() -> Any:
    """The execution context of the innermost runtime that is open."""
    return _open_contexts[-1]


def _closed_context() -> Any:
    import tensorflow_federated as tff

    class ClosedContext(tff.framework.SyncContext):
        """What TFF calls where no runtime is open."""

        def invoke(self, comp, arg):
            raise RuntimeError(
                "no runtime is open: call TFF computations inside "
                "`with tff_cnn.runtime.use(...)`."
            )

    return ClosedContext()
