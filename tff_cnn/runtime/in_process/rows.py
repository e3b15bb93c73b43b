"""Clients' values below one another, in memory or in a file.

What a cohort sends may be larger than the memory of the machine: 1,000 updates
of 1.7 million parameters are 6.8 GB. Where a reduction collects that much, its
rows go to a file of the temporary folder (`TMPDIR`) that has no name, and goes
with the process. Functions read it as a tensor like any other, which costs
nothing to make: its memory is the file, of which the system keeps what it has
room for. What was read is let go of again and again (`trimming`), so that the
process does not count it as its own.
"""

import contextlib
import mmap
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tff_cnn.core.errors import FailedRunError

# Bytes of a reduction that are kept in memory.
IN_MEMORY = 2**31
# Bytes that are written between two calls of `Rows.trim`.
_WRITTEN = 2**27
# Seconds between two of them while functions read.
_INTERVAL = 0.02


class NoRoomError(FailedRunError):
    """The temporary folder has no room for a cohort's values."""


class Rows:
    """Values of one leaf.

    Attributes:
      is_in_file: Whether they are in a file.
    """

    def __init__(self, start: np.ndarray, num_rows: int, is_in_file: bool):
        """Args:
        start: What stands above them, [any, ...].
        num_rows: How many will be appended.
        is_in_file: Whether to write them to a file; only numbers can be.

        Raises:
          NoRoomError: There is no room for the file.
        """
        shape = (len(start) + num_rows, *start.shape[1:])
        # TensorFlow takes only numbers as they stand.
        self._is_number = start.dtype.kind in "iuf"
        self.is_in_file = is_in_file and self._is_number
        if self._is_number:
            size = max(1, int(np.prod(shape)) * start.dtype.itemsize)
            self._map = (
                _in_file(size) if self.is_in_file else mmap.mmap(-1, size)
            )
            count = int(np.prod(shape))
            flat = np.frombuffer(self._map, start.dtype, count)
            self._array = flat.reshape(shape)
        else:
            self._array = np.empty(shape, start.dtype)
        self._array[: len(start)] = start
        self._next = len(start)
        self._untrimmed = 0

    def append(self, row: np.ndarray) -> None:
        """Writes the next row."""
        self._array[self._next] = row
        self._next += 1
        self._untrimmed += row.nbytes
        if self._untrimmed > _WRITTEN:
            self.trim()
            self._untrimmed = 0

    def tensor(self) -> tf.Tensor:
        """All rows: [any, ...]; of numbers no copy."""
        if not self._is_number:
            return tf.convert_to_tensor(self._array)
        # `convert_to_tensor` copies, twice at its worst. A map begins at a
        # page, as aligned as TensorFlow needs it.
        return tf.experimental.dlpack.from_dlpack(self._array.__dlpack__())

    def trim(self) -> None:
        """Leaves it to the system what to keep in memory, if in a file."""
        if self.is_in_file:
            # Of a shared map: nothing that was written is lost.
            self._map.madvise(mmap.MADV_DONTNEED)


def build_rows(starts: Sequence[np.ndarray], num_rows: int) -> list[Rows]:
    """Rows of all leaves of a reduction.

    Args:
      starts: See `Rows`.
      num_rows: See `Rows`.
    """
    sizes = [
        int(np.prod(start.shape[1:])) * start.dtype.itemsize for start in starts
    ]
    is_in_file = sum(sizes) * num_rows > IN_MEMORY
    return [Rows(start, num_rows, is_in_file) for start in starts]


@contextlib.contextmanager
def trimming(rows: Sequence[Rows]) -> Iterator[None]:
    """Trims rows in files for as long as it is entered."""
    in_files = [r for r in rows if r.is_in_file]
    if not in_files:
        yield
        return
    has_ended = threading.Event()

    def trim():
        while not has_ended.wait(_INTERVAL):
            for r in in_files:
                r.trim()

    thread = threading.Thread(target=trim, daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


def _in_file(size: int) -> mmap.mmap:
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise NoRoomError(
                f"the updates of a round need {size / 1e9:.1f} GB in "
                f"{tempfile.gettempdir()}, which has no room for them "
                f"({error.strerror}): set TMPDIR to a folder on a larger disk, "
                "or use a smaller cohort."
            ) from error
        return mmap.mmap(file.fileno(), size)
