"""What a run leaves on disk, and where.

config.json      every flag as resolved, versions, commit, seed
metrics.jsonl    one row a round
summary.json     written when the run has ended
checkpoints/     the last few states, one file each
tensorboard/     the scalars of metrics.jsonl
curves.png       accuracy, loss and epsilon over rounds
export/          the trained Keras model
canaries.f32     only with --audit_canaries: their cosines, round by round

and from `experiments.audit`:

audit.json           what attacks on the exported model find out
membership_roc.png   their ROC curves
"""

import json
import os
import pathlib
from typing import Any

from tff_cnn.core import paths
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import to_json, write_atomically
from tff_cnn.training.loop import Round, Row


class RunFolder:
    """Paths and records of one run. Creating the object creates nothing."""

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.summary = self.path / "summary.json"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.curves = self.path / "curves.png"
        self.export = self.path / "export"
        self.canaries = self.path / "canaries.f32"
        self.audit = self.path / "audit.json"
        self.membership_roc = self.path / "membership_roc.png"

    def holds_run(self) -> bool:
        return self.config.is_file()

    def check_usable(self) -> None:
        """Raises `UsageError` where a run would overwrite other files."""
        paths.check_creatable_folder(self.path, "--run_dir")
        if self.holds_run() or not self.path.exists():
            return
        # A run killed while it wrote its first file has left nothing but that.
        others = [p for p in self.path.iterdir() if not _is_own(p)]
        if others:
            raise UsageError(
                f"--run_dir={self.path} holds {others[0].name!r} but no "
                "config.json of a run: name a folder that is new or empty."
            )

    def write_config(self, config: dict[str, Any]) -> None:
        """Creates the folder; from here on it holds a run."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config, to_json(config, indent=2).encode())

    def read_config(self) -> dict[str, Any]:
        return _read_json(self.config)

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_atomically(self.summary, to_json(summary, indent=2).encode())

    def read_summary(self) -> dict[str, Any] | None:
        """The summary of a run that has ended, else None."""
        return _read_json(self.summary) if self.summary.is_file() else None

    def read_rows(self) -> list[Row]:
        """Complete metrics rows; what a kill left of a line is dropped."""
        rows = []
        if self.metrics.is_file():
            for line in self.metrics.read_text().splitlines():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError:
                    break
        return rows

    def truncate_rows(self, last_round: int) -> list[Row]:
        """Drops rows after `last_round` and returns those that stay."""
        rows = [row for row in self.read_rows() if row["round"] <= last_round]
        lines = "".join(to_json(row) + "\n" for row in rows)
        write_atomically(self.metrics, lines.encode())
        return rows


class MetricsWriter:
    """Hook: appends each round's row to metrics.jsonl.

    It comes before the hook that writes checkpoints: a kill between the two
    leaves a row too many, which resuming drops, and never one too few.
    """

    def __init__(self, folder: RunFolder, rows: list[Row]):
        """Args:
        folder: Whose metrics.jsonl holds exactly `rows`.
        rows: Grows with the run.
        """
        self._folder = folder
        self.rows = rows

    def after_round(self, finished: Round) -> None:
        self.rows.append(finished.row)
        with open(self._folder.metrics, "a") as file:
            file.write(to_json(finished.row) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _is_own(path: pathlib.Path) -> bool:
    return path.name.startswith(".config.json.")


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read as JSON ({error}): it was changed by hand "
            "or is not a run's; use another --run_dir."
        ) from error
