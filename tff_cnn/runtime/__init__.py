"""Where TFF computations run. Only entry points import this package.

    with runtime.use("native"):
        process.next(state, clients)

A runtime is a context manager that yields a TFF execution context and, on
leaving, leaves nothing behind: no process, no port.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from tff_cnn.core.registry import Registry

RUNTIMES = Registry(
    "runtime",
    {
        "native": "tff_cnn.runtime.native:open_runtime",
        "in_process": "tff_cnn.runtime.in_process.context:open_runtime",
    },
)

_PREPARATIONS = Registry(
    "runtime",
    {"in_process": "tff_cnn.runtime.in_process.schedule:prepare"},
)


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
    if RUNTIMES.check(name) in _PREPARATIONS:
        _PREPARATIONS.get(name)(**options)


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
    with RUNTIMES.get(name)(**options) as context:
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
