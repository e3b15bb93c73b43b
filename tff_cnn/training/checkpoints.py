"""Checkpoints: one file a round, whole or absent, bound to one run.

A file is an .npz archive of the leaves of the learning process's state and a
JSON header with the run's fingerprint, the round, what each leaf is, a digest
of all of them, and the privacy ledger: state and ledger are of the same round
because they are in the same file.
"""

import hashlib
import io
import json
import pathlib
import re
from typing import Any

import numpy as np
import tensorflow as tf

from tff_cnn.core.files import write_atomically
from tff_cnn.privacy.ledger import Ledger, StagedLedger
from tff_cnn.training.loop import Round

_FORMAT = 1
_NAME = re.compile(r"round_(\d{6,})\.npz")


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
    ):
        """Args:
        folder: Created when the first one is saved.
        fingerprint: Of the run's configuration; others' files are refused.
        last_round: Saved whatever `every` says.
        every: Rounds between two checkpoints, >= 1.
        keep: How many of the newest to keep, >= 2: one may turn out torn.
        ledger: Saved with the state, and restored by `load_latest`.
        """
        self._folder = folder
        self._fingerprint = fingerprint
        self._last_round = last_round
        self._every = every
        self._keep = keep
        self._ledger = ledger

    def after_round(self, finished: Round) -> None:
        is_due = finished.number % self._every == 0
        if is_due or finished.stop or finished.number == self._last_round:
            self.save(finished.number, finished.state)

    def save(self, round_num: int, state: Any) -> pathlib.Path:
        """Writes the state after `round_num` and drops the oldest files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"round_{round_num:06d}.npz"
        ledger = self._ledger and self._ledger.to_state()
        write_atomically(
            path, _pack(self._fingerprint, round_num, state, ledger)
        )
        for old in self._paths()[self._keep :]:
            old.unlink()
        return path

    def load_latest(
        self, template: Any
    ) -> tuple[int, Any, list[CheckpointError]]:
        """The newest good checkpoint.

        Args:
          template: A state of the same structure, as from `initialize()`.

        Returns:
          (round, state, files refused on the way); round 0 with `template`
          itself where there is no good one.
        """
        refused = []
        for path in self._paths():
            try:
                round_num, state = self._load(path, template)
                return round_num, state, refused
            except CheckpointError as error:
                refused.append(error)
        return 0, template, refused

    def _paths(self) -> list[pathlib.Path]:
        """Newest first."""
        if not self._folder.is_dir():
            return []
        found = [p for p in self._folder.iterdir() if _NAME.fullmatch(p.name)]
        return sorted(found, key=_round_of, reverse=True)

    def _load(self, path: pathlib.Path, template: Any) -> tuple[int, Any]:
        try:
            header, leaves = _unpack(path.read_bytes())
        except Exception as e:  # Damage surfaces as almost any of them.
            raise CheckpointError(f"{path} is torn or damaged ({e})") from e
        if header["fingerprint"] != self._fingerprint:
            raise CheckpointError(f"{path} is from a run with other settings")
        if header["round"] != _round_of(path):
            raise CheckpointError(
                f"{path} holds round {header['round']}: it was renamed"
            )
        expected = tf.nest.flatten(template)
        if [_kind(leaf) for leaf in expected] != header["kinds"] or [
            _fixed_shape(leaf) for leaf in expected
        ] != [_fixed_shape(leaf) for leaf in leaves]:
            raise CheckpointError(f"{path} holds a state of another structure")
        self._restore_ledger(header, path)
        return header["round"], tf.nest.pack_sequence_as(template, leaves)

    def _restore_ledger(self, header: dict[str, Any], path: pathlib.Path):
        if self._ledger is None:
            return
        try:
            self._ledger.restore(header.get("ledger") or {}, header["round"])
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error


def _round_of(path: pathlib.Path) -> int:
    return int(_NAME.fullmatch(path.name).group(1))


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
    return header, [
        array.tobytes() if kind == "bytes" else array[()]
        for kind, array in zip(kinds, arrays, strict=True)
    ]


def _kind(leaf: Any) -> str:
    """The dtype of a leaf; TFF returns string tensors as bytes."""
    return "bytes" if isinstance(leaf, bytes) else np.asarray(leaf).dtype.str


def _fixed_shape(leaf: Any) -> tuple[int, ...]:
    """Rank and all sizes but the first: tree aggregation's buffer grows."""
    return (np.ndim(leaf), *np.shape(leaf)[1:])


def _to_array(leaf: Any) -> np.ndarray:
    if isinstance(leaf, bytes):
        return np.frombuffer(leaf, np.uint8)
    return np.asarray(leaf)


def _digest(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
