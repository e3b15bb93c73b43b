"""What a run leaves on disk, and where.

config.json      every flag as resolved, versions, commit, seed
metrics.jsonl    one row a round
summary.json     written when the run has ended
checkpoints/     the last few states, one file each
tensorboard/     the scalars of metrics.jsonl
curves.png       accuracy, loss and epsilon over rounds
clients.csv      what each client has measured (`client_table`), after the last
                 round that was so evaluated
clients.png      how that is distributed over clients
export/          the trained Keras model
canaries.f32     only with --audit_canaries: their cosines, round by round
ledger.jsonl     of a private run: what it has released (`releases`)
secret.key       of a private run: what its cohorts and noise follow from
                 (`run_secret`)
.scratch/        what clients keep, where memory is not to hold it
.lock            while a process works on the run

and from `experiments.audit`:

audit.json           what attacks on the exported model find out
membership_roc.png   their ROC curves

and from `experiments.evaluate`, which also writes clients.csv and clients.png
anew:

evaluation.json      the figures of all clients

and from `experiments.shrink`, which also writes export/*.tflite:

shrunk.json          bytes and accuracy of each
"""

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tff_cnn.core import paths
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import to_json, write_atomically
from tff_cnn.training import lock, run_files
from tff_cnn.training.loop import Round, Row
from tff_cnn.training.run_secret import RunSecret

if TYPE_CHECKING:  # It takes a moment, and mistakes are answered at once.
    from tff_cnn.training.releases import Releases

# Sets of examples in clients.csv: see `client_table`.
CLIENT_SETS = ("holdout", "unseen", "training")
# Formats of small models: see `shrinking`.
SHRUNK_FORMATS = ("float32", "int8")
_CHECKPOINT = re.compile(r"round_(\d{6,})\.npz")


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
        self.clients = self.path / "clients.csv"
        self.clients_picture = self.path / "clients.png"
        self.evaluation = self.path / "evaluation.json"
        self.export = self.path / "export"
        self.canaries = self.path / "canaries.f32"
        self.ledger = self.path / "ledger.jsonl"
        self.secret = self.path / "secret.key"
        self.audit = self.path / "audit.json"
        self.shrunk = self.path / "shrunk.json"
        self.scratch = self.path / ".scratch"
        self.membership_roc = self.path / "membership_roc.png"

    def holds_run(self) -> bool:
        return self.config.is_file()

    def check_usable(self) -> None:
        """Raises `UsageError` where a run would overwrite other files."""
        paths.check_creatable_folder(self.path, "<run_dir>")
        if self.holds_run():
            self._check_kinds()
        elif self.path.exists():
            # A run killed while it wrote its first files has left only those.
            others = [p for p in self.path.iterdir() if not self._is_own(p)]
            if others:
                raise UsageError(
                    f"<run_dir>={self.path} holds {others[0].name!r} but no "
                    "config.json of a run: name a folder that is new or empty."
                )

    def _check_kinds(self) -> None:
        folders = (self.checkpoints, self.tensorboard, self.export)
        files = (self.metrics, self.summary, self.ledger, self.secret)
        for path, is_right, expected in (
            *((p, p.is_dir, "folder") for p in folders),
            *((p, p.is_file, "file") for p in files),
        ):
            if os.path.lexists(path) and not is_right():
                raise UsageError(
                    f"{path} is not a {expected}, as it is in a run's folder: "
                    "restore it or use another <run_dir>."
                )

    def _is_own(self, path: pathlib.Path) -> bool:
        """Whether a run leaves this before its config.json."""
        if path == self.ledger:
            return b'"round"' not in path.read_bytes()
        return path == self.secret or bool(
            re.fullmatch(r"\.lock|\.(config\.json|secret\.key)\..*", path.name)
        )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes off the folder, which is made where need be.

        Where nothing was written to it, no trace of it is left.

        Raises:
          UsageError: Another process works on it.
        """
        missing = [p for p in (self.path, *self.path.parents) if not p.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with lock.hold(self.path / ".lock"):
                yield
        finally:
            for path in missing:
                with contextlib.suppress(OSError):
                    path.rmdir()  # Fails where it is not empty.

    def write_config(self, config: dict[str, Any]) -> None:
        """Creates the folder; from here on it holds a run."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config, to_json(config, indent=2).encode())

    def read_config(self) -> dict[str, Any]:
        return run_files.read_config(self.config)

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_atomically(self.summary, to_json(summary, indent=2).encode())

    def read_summary(self) -> dict[str, Any] | None:
        """The summary of a run that has ended, else None."""
        if not self.summary.is_file():
            return None
        return run_files.read_summary(self.summary)

    def holds_rounds(self) -> bool:
        """Whether a file here knows of a round."""
        return any(
            path.is_file() and b'"round"' in path.read_bytes()
            for path in (self.metrics, self.ledger)
        )

    def keeps_ledger(self) -> bool:
        """Whether the run has, or had, a ledger in a file of its own."""
        if self.ledger.is_file():
            return True
        return self.holds_run() and "ledger" in self.read_config()

    def begin_ledger(
        self, releases: "Releases", secret: RunSecret, done: int
    ) -> None:
        """Begins the record of what a private run releases.

        Args:
          releases: Empty. Of a run from before there was such a record it gets
            the rounds that are known to have been released.
          secret: Saved first, unless everybody may know it.
          done: Round of the newest checkpoint.

        Raises:
          UsageError: There was a record, and it is gone.
        """
        config = self.read_config() if self.holds_run() else {}
        if "ledger" in config:
            raise UsageError(
                f"{self.ledger} is missing, so what the run has spent is not "
                "known: restore it or train in another <run_dir>."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        if not secret.is_known:
            secret.save(self.secret)
        if not config:
            releases.begin(after=0)
            return
        releases.begin(after=0, already=max(done, len(self.read_rows())))
        self.write_config({**config, "ledger": self.ledger.name})

    def read_rows(self) -> list[Row]:
        """Complete metrics rows; what a kill left of a line is dropped.

        Raises:
          UsageError: They are not those of rounds 1, 2, ...
        """
        return run_files.read_rows(self.metrics)

    def check_rows(self, last_round: int) -> list[Row]:
        """The rows, of which none up to `last_round` may be missing.

        Raises:
          UsageError: Some are.
        """
        rows = self.read_rows()
        if len(rows) < last_round:
            raise UsageError(
                f"{self.metrics} ends with round {len(rows)}, but there is a "
                f"checkpoint of round {last_round}: restore it or use another "
                "<run_dir>."
            )
        return rows

    def truncate_rows(self, last_round: int) -> list[Row]:
        """Drops rows after `last_round` and returns those that stay.

        Raises:
          UsageError: Some are missing.
        """
        rows = self.check_rows(last_round)[:last_round]
        lines = "".join(to_json(row) + "\n" for row in rows)
        write_atomically(self.metrics, lines.encode())
        return rows

    def checkpoint_rounds(self) -> dict[int, pathlib.Path]:
        """Round -> its checkpoint, the newest first."""
        return checkpoint_files(self.checkpoints)

    def new_scratch(self) -> pathlib.Path:
        """An empty folder for what only this process needs."""
        self.drop_scratch()
        return self.scratch

    def drop_scratch(self) -> None:
        """Removes what a process has left in the scratch folder."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def discard_checkpoints_after(self, round_num: int) -> None:
        """Removes checkpoints of later rounds, of an abandoned branch."""
        for number, path in self.checkpoint_rounds().items():
            if number > round_num:
                path.unlink()


def checkpoint_files(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """Round -> the file of its checkpoint, the newest first."""
    if not folder.is_dir():
        return {}
    found = {}
    for path in folder.iterdir():
        if match := _CHECKPOINT.fullmatch(path.name):
            found[int(match.group(1))] = path
    return dict(sorted(found.items(), reverse=True))


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
