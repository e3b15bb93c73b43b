"""One process at a time for one run folder."""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
import sys
from collections.abc import Iterator
from typing import Any

from tff_cnn.core.errors import UsageError


@contextlib.contextmanager
def hold(path: pathlib.Path) -> Iterator[None]:
    """Holds the lock file `path` while the context is open.

    The kernel lets a lock go with its process, however that ends, so that none
    is left behind; the file's content only says who has it. A file of a process
    that is gone is noticed and taken over.

    Raises:
      UsageError: Another process holds it.
    """
    descriptor = _acquire(path)
    try:
        yield
    finally:
        # While it is still locked: whoever opened it notices that it is gone.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: pathlib.Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(descriptor)
            os.close(descriptor)
            raise UsageError(
                f"{path.parent} is in use by process {owner.get('pid', '?')} "
                f"on {owner.get('host', 'an unknown host')}: wait for its end "
                "or use another <run_dir>."
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        if _is_same(descriptor, path):
            break
        os.close(descriptor)  # Its owner has just removed it.
    before = _owner(descriptor)
    if before:
        print(
            f"note: {path} was left by process {before.get('pid', '?')} on "
            f"{before.get('host', 'an unknown host')}, which is gone.",
            file=sys.stderr,
        )
    os.ftruncate(descriptor, 0)
    owner = {"pid": os.getpid(), "host": socket.gethostname()}
    os.pwrite(descriptor, json.dumps(owner).encode(), 0)
    return descriptor


def _owner(descriptor: int) -> dict[str, Any]:
    """What the file says; nothing where that makes no sense."""
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_same(descriptor: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
