"""What clients keep between rounds: a row of numbers each, found by client id.

A `ClientStates` never changes: what a round leaves is another one, which shares
the rows of all clients that took no part. So a round that is dropped leaves
nothing behind, and the state of a run is a value as any other. Clients that
have not taken part yet have no row of their own, and cost nothing.

Rows are held in memory up to a limit; those that took part longest ago are then
mapped from a scratch folder. A checkpoint has the `manifest`, and beside it,
once for all checkpoints that refer to it, a file of each row, named by the
client and the digest of what it holds.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tff_cnn.core.files import write_atomically

_DIGEST_WORDS = 4  # 64 bits each: SHA-256.


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """What one client keeps.

    Attributes:
      values: float32, [size]; not to be written to.
      file: That it is mapped from; None where it is in memory.
    """

    values: np.ndarray
    file: pathlib.Path | None = None

    @functools.cached_property
    def digest(self) -> bytes:
        """SHA-256 of its bytes; computed by who saves it, not in a round."""
        return hashlib.sha256(self.values).digest()


@dataclasses.dataclass(frozen=True, eq=False)
class ClientStates:
    """What each client keeps, as a value.

    Attributes:
      initial: float32, [size]: of clients that have not taken part yet.
      rows: Client id -> its row; those that took part last come last.
      scratch: Folder for rows beyond the limit; None where there is no limit.
      max_bytes: Of rows in memory.
    """

    initial: np.ndarray
    rows: Mapping[int, Row] = dataclasses.field(default_factory=dict)
    scratch: pathlib.Path | None = None
    max_bytes: int = 0

    def of(self, clients: Iterable[int]) -> list[np.ndarray]:
        """What these clients keep: float32, [size] each; not to be changed."""
        return [
            self.rows[client].values if client in self.rows else self.initial
            for client in map(int, clients)
        ]

    def after(
        self, clients: Sequence[int], values: Sequence[np.ndarray]
    ) -> "ClientStates":
        """With other rows for some clients.

        Args:
          clients: Ids, each once.
          values: float32, [size], for each of them.

        Raises:
          ValueError: A client comes twice, or a row has another size.
        """
        if len({*map(int, clients)}) != len(clients):
            raise ValueError(f"a client is there twice: {list(clients)}.")
        rows = dict(self.rows)
        for client, found in zip(map(int, clients), values, strict=True):
            row = np.array(found, np.float32)  # A copy of its own.
            if row.shape != self.initial.shape:
                raise ValueError(
                    f"client {client} keeps {row.shape} numbers, not "
                    f"{self.initial.shape}."
                )
            row.flags.writeable = False
            rows.pop(client, None)  # What took part last comes last.
            rows[client] = Row(row)
        if self.scratch is not None:
            _spill(rows, self.scratch, self.max_bytes)
        return dataclasses.replace(self, rows=rows)

    @property
    def manifest(self) -> np.ndarray:
        """Which rows there are: int64, [rows, 5], client id and digest."""
        return np.array(
            [
                [client, *np.frombuffer(row.digest, np.int64)]
                for client, row in self.rows.items()
            ],
            np.int64,
        ).reshape(-1, 1 + _DIGEST_WORDS)

    @property
    def file_names(self) -> set[str]:
        """Of the files that `save` writes."""
        return {_file_name(c, row.digest) for c, row in self.rows.items()}

    def save(self, folder: pathlib.Path) -> None:
        """Writes the rows that `folder` does not have yet."""
        folder.mkdir(exist_ok=True)
        for client, row in self.rows.items():
            path = folder / _file_name(client, row.digest)
            if path.exists():
                continue
            if row.file is None or not _linked(row.file, path):
                write_atomically(path, row.values.tobytes())

    def restored(
        self, manifest: np.ndarray, folder: pathlib.Path
    ) -> "ClientStates":
        """The rows of a manifest, mapped from a folder that they were saved to.

        Raises:
          ValueError: A file is missing or damaged.
        """
        rows = {}
        for client, *words in manifest:
            digest = np.array(words, np.int64).tobytes()
            path = folder / _file_name(client, digest)
            try:
                row = Row(_mapped(path, self.initial.shape), path)
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"what client {client} keeps cannot be read from {path} "
                    f"({error})"
                ) from error
            if row.digest != digest:
                raise ValueError(f"{path} is damaged")
            rows[int(client)] = row
        return dataclasses.replace(self, rows=rows)


def file_names(manifest: np.ndarray) -> set[str]:
    """Names of the files that a manifest refers to."""
    return {
        _file_name(client, np.array(words, np.int64).tobytes())
        for client, *words in manifest
    }


def _file_name(client: int, digest: bytes) -> str:
    return f"{client:06d}-{digest.hex()[:32]}.f32"


def _spill(rows: dict[int, Row], scratch: pathlib.Path, max_bytes: int) -> None:
    """Puts the rows that took part longest ago into files."""
    held = [(c, row) for c, row in rows.items() if row.file is None]
    excess = sum(row.values.nbytes for _, row in held) - max_bytes
    for client, row in held:
        if excess <= 0:
            return
        scratch.mkdir(parents=True, exist_ok=True)
        path = scratch / _file_name(client, row.digest)
        if not path.exists():
            write_atomically(path, row.values.tobytes())
        # In its place: the order is that of taking part.
        rows[client] = Row(_mapped(path, row.values.shape), path)
        excess -= row.values.nbytes


def _mapped(path: pathlib.Path, shape: tuple[int, ...]) -> np.ndarray:
    if path.stat().st_size != 4 * shape[0]:
        raise ValueError(f"{path.stat().st_size} bytes, not {4 * shape[0]}")
    return np.memmap(path, np.float32, "r", shape=shape)


def _linked(source: pathlib.Path, path: pathlib.Path) -> bool:
    """Whether a file could be given a second name, instead of a copy."""
    try:
        os.link(source, path)
    except OSError:
        return False
    return True
