"""How the modular secure sums of a computation are executed.

TFF's `federated_secure_modular_sum` says what is summed, and not how. A runtime
computes the plain sum, or asks whoever has said `executed_by`:

    with secure_sums.executed_by(begin):
        process.next(state, clients)
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np


class ModularSum(Protocol):
    """A sum that has begun."""

    def add(self, client: int, arrays: list[np.ndarray]) -> None:
        """Adds what a client has; clients come in turn, each once.

        Args:
          client: Index in the cohort.
          arrays: Of integers, in shape and type the same for all.
        """

    def finish(self) -> list[np.ndarray]:
        """The sums, each modulo its modulus, of the arrays' types."""


# (modulus of each array, clients) -> a sum that begins.
Begin = Callable[[list[int], int], ModularSum]

_begin: contextvars.ContextVar[Begin | None] = contextvars.ContextVar(
    "secure sums", default=None
)


@contextlib.contextmanager
def executed_by(begin: Begin) -> Iterator[None]:
    """All modular sums that this thread computes meanwhile are `begin`'s."""
    token = _begin.set(begin)
    try:
        yield
    finally:
        _begin.reset(token)


def begun(moduli: list[int], num_clients: int) -> ModularSum | None:
    """A sum that begins; None where a plain one is wanted, or of nobody."""
    begin = _begin.get()
    if begin is None or not num_clients:
        return None
    return begin(moduli, num_clients)
