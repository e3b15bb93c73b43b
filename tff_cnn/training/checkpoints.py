"""Checkpoints: one file a round, whole or absent, bound to one run.

A file is an .npz archive of the leaves of the learning process's state and a
JSON header with the run's fingerprint, the round, what each leaf is, a digest
of all of them, and what the privacy ledger had counted by then. There is one of
round 0, so that a run which is killed before the first one that is due can be
computed again from its start.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import re
from collections.abc import Collection
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.util import nest

from tff_cnn.core import client_states
from tff_cnn.core.client_states import ClientStates
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import write_atomically
from tff_cnn.privacy.ledger import Ledger, StagedLedger
from tff_cnn.training.loop import Round
from tff_cnn.training.releases import Releases
from tff_cnn.training.run_folder import checkpoint_files

_FORMAT = 1
# Folder of what clients keep, beside the checkpoints that refer to it.
_ROWS = "clients"
# Leaves of a state that count what a secret seed has been used for. Files of
# before there was one lack them; its counters then begin as in a new run.
_COUNTER = re.compile(r"(^|/)noise_(round|calls)$")


@dataclasses.dataclass(frozen=True)
class _Manifest:
    """Of a `ClientStates`, as a checkpoint holds it."""

    rows: np.ndarray


class CheckpointError(ValueError):
    """A file that is torn, or that belongs to another run."""


class Checkpoints:
    """The checkpoints of one run.

    Also a hook that saves after every `every` rounds and after the last one.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        fingerprint: str,
        last_round: int,
        every: int = 1,
        keep: int = 3,
        ledger: Ledger | StagedLedger | None = None,
        releases: Releases | None = None,
        other_fingerprints: Collection[str] = (),
    ):
        """Args:
        folder: Created when the first one is saved.
        fingerprint: Of the run's configuration; others' files are refused.
        last_round: Saved whatever `every` says.
        every: Rounds between two checkpoints, >= 1.
        keep: How many of the newest to keep, >= 2: one may turn out torn.
        ledger: Saved with the state, and restored by `load_latest`.
        releases: Of the run; states that it did not release are refused.
        other_fingerprints: Accepted beside `fingerprint`.
        """
        self._folder = folder
        self._fingerprint = fingerprint
        self._accepted = {fingerprint, *other_fingerprints}
        self._releases = releases
        self._unsaved: tuple[int, Any, dict[str, Any] | None] | None = None
        self._last_round = last_round
        self._every = every
        self._keep = keep
        self._ledger = ledger
        self._row_files: dict[str, set[str]] = {}

    def after_round(self, finished: Round) -> None:
        is_due = finished.number % self._every == 0
        spent = self._ledger and self._ledger.to_state()
        self._unsaved = finished.number, finished.state, spent
        if is_due or finished.stop or finished.number == self._last_round:
            self.save_latest()

    def save_latest(self) -> None:
        """Saves the last round that it was told of, if it is not saved yet."""
        if self._unsaved is not None:
            self._write(*self._unsaved)
            self._unsaved = None

    def save(self, round_num: int, state: Any) -> pathlib.Path:
        """Writes the state after `round_num` and drops the oldest files."""
        spent = self._ledger and self._ledger.to_state()
        return self._write(round_num, state, spent)

    def _write(self, round_num, state, spent) -> pathlib.Path:
        # Not its parents: a run's folder that is deleted stays so.
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"round_{round_num:06d}.npz"
        for states in _client_states(state):  # Before what refers to them.
            states.save(self._folder / _ROWS)
        write_atomically(
            path, _pack(self._fingerprint, round_num, state, spent)
        )
        for old in list(checkpoint_files(self._folder).values())[self._keep :]:
            old.unlink()
        kept = _client_states(state)
        if kept:
            names = (states.file_names for states in kept)
            self._row_files[path.name] = set().union(*names)
            self._drop_unused_rows()
        return path

    def _drop_unused_rows(self) -> None:
        """Deletes rows of clients that no checkpoint refers to any more."""
        used: set[str] = set()
        for path in checkpoint_files(self._folder).values():
            if path.name not in self._row_files:  # Of before this process.
                self._row_files[path.name] = _row_files(path)
            used |= self._row_files[path.name]
        for path in (self._folder / _ROWS).iterdir():
            if path.name not in used:
                path.unlink()

    def load_latest(
        self, template: Any
    ) -> tuple[int, Any, list[CheckpointError]]:
        """The newest good checkpoint.

        Args:
          template: A state of the same structure, as from `initialize()`.

        Returns:
          (round, state, files refused on the way); round 0 with `template`
          itself where there is no file at all.

        Raises:
          UsageError: There are files, and none of them is good.
        """
        refused = []
        for round_num, path in checkpoint_files(self._folder).items():
            try:
                return round_num, self._load(path, round_num, template), refused
            except CheckpointError as error:
                refused.append(error)
        if refused:
            raise UsageError(
                f"none of the {len(refused)} checkpoints in {self._folder} can "
                f"be used ({refused[0]}): restore one or train in another "
                "<run_dir>."
            )
        return 0, template, refused

    def _load(self, path: pathlib.Path, round_num: int, template: Any) -> Any:
        try:
            header, leaves = _unpack(path.read_bytes())
        except Exception as e:  # Damage surfaces as almost any of them.
            raise CheckpointError(f"{path} is torn or damaged ({e})") from e
        if header["fingerprint"] not in self._accepted:
            raise CheckpointError(f"{path} is from a run with other settings")
        if header["round"] != round_num:
            raise CheckpointError(
                f"{path} holds round {header['round']}: it was renamed"
            )
        expected = tf.nest.flatten(template)
        if len(leaves) < len(expected):
            leaves = _with_counters(template, leaves)
        if [_signature(leaf) for leaf in expected] != [
            _signature(leaf) for leaf in leaves
        ]:
            raise CheckpointError(f"{path} holds a state of another structure")
        leaves = self._with_rows(expected, leaves, path)
        self._check_spending(header, path)
        return tf.nest.pack_sequence_as(template, leaves)

    def _with_rows(self, expected, leaves, path) -> list[Any]:
        """The leaves, with what clients keep in the place of a manifest."""
        try:
            return [
                like.restored(leaf.rows, self._folder / _ROWS)
                if isinstance(leaf, _Manifest)
                else leaf
                for like, leaf in zip(expected, leaves, strict=True)
            ]
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error

    def _check_spending(self, header: dict[str, Any], path: pathlib.Path):
        try:
            if self._releases is not None:
                self._releases.check_state(header["round"], header["digest"])
            if self._ledger is not None:
                self._ledger.restore(
                    header.get("ledger") or {}, header["round"]
                )
        except UsageError:
            raise
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error


def state_digest(state: Any) -> str:
    """Digest of all leaves of a state; what a checkpoint of it carries."""
    return _digest([_to_array(leaf) for leaf in tf.nest.flatten(state)])


def _with_counters(template: Any, leaves: list[Any]) -> list[Any]:
    """`leaves` with those of the template put in that count uses of a seed."""
    remaining = iter(leaves)
    completed = [
        leaf if _COUNTER.search(path) else next(remaining, None)
        for path, leaf in nest.flatten_with_joined_string_paths(template)
    ]
    return [*completed, *remaining]


def _pack(
    fingerprint: str,
    round_num: int,
    state: Any,
    ledger: dict[str, Any] | None,
) -> bytes:
    leaves = tf.nest.flatten(state)
    arrays = [_to_array(leaf) for leaf in leaves]
    header = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "round": round_num,
        "kinds": [_kind(leaf) for leaf in leaves],
        "digest": _digest(arrays),
        "ledger": ledger,
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        header=np.frombuffer(json.dumps(header).encode(), np.uint8),
        **{f"leaf_{i:04d}": array for i, array in enumerate(arrays)},
    )
    return buffer.getvalue()


def _unpack(content: bytes) -> tuple[dict[str, Any], list[Any]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        header = json.loads(archive["header"].tobytes())
        if header["format"] != _FORMAT:
            raise ValueError(f"format {header['format']}, not {_FORMAT}")
        arrays = [archive[f"leaf_{i:04d}"] for i in range(len(header["kinds"]))]
    if _digest(arrays) != header["digest"]:
        raise ValueError("its digest does not match")
    kinds = header["kinds"]
    read = {"bytes": np.ndarray.tobytes, _ROWS: _Manifest}
    return header, [
        read[kind](array) if kind in read else array[()]
        for kind, array in zip(kinds, arrays, strict=True)
    ]


def _signature(leaf: Any) -> tuple[str, tuple[int, ...]]:
    """What leaves of the same place in two states have in common."""
    return _kind(leaf), _fixed_shape(leaf)


def _kind(leaf: Any) -> str:
    """The dtype of a leaf; TFF returns string tensors as bytes."""
    if isinstance(leaf, bytes):
        return "bytes"
    if isinstance(leaf, ClientStates | _Manifest):
        return _ROWS
    return np.asarray(leaf).dtype.str


def _fixed_shape(leaf: Any) -> tuple[int, ...]:
    """Rank and all sizes but the first: tree aggregation's buffer grows."""
    if isinstance(leaf, ClientStates | _Manifest):
        return ()
    return (np.ndim(leaf), *np.shape(leaf)[1:])


def _client_states(state: Any) -> list[ClientStates]:
    leaves = tf.nest.flatten(state)
    return [leaf for leaf in leaves if isinstance(leaf, ClientStates)]


def _row_files(path: pathlib.Path) -> set[str]:
    """Names of the rows that a checkpoint refers to; none of a torn one."""
    try:
        _, leaves = _unpack(path.read_bytes())
    except Exception:  # Damage surfaces as almost any of them.
        return set()
    return {
        name
        for leaf in leaves
        if isinstance(leaf, _Manifest)
        for name in client_states.file_names(leaf.rows)
    }


def _to_array(leaf: Any) -> np.ndarray:
    if isinstance(leaf, bytes):
        return np.frombuffer(leaf, np.uint8)
    if isinstance(leaf, ClientStates):
        return leaf.manifest
    return np.asarray(leaf)


def _digest(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
