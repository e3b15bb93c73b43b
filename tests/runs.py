"""Training runs that many tests read, each trained once for the whole suite."""

import fcntl
import hashlib
import json
import pathlib
import shutil
import subprocess
from typing import NamedTuple

from tests import processes


class Trained(NamedTuple):
    """A run that has ended well.

    Attributes:
      folder: Of the run, to be read only; `copy` makes one to be changed.
      result: How the program ended, and what it printed.
    """

    folder: pathlib.Path
    result: subprocess.CompletedProcess

    def copy(self, folder: pathlib.Path) -> pathlib.Path:
        """A copy of the run folder, which does not exist yet."""
        return pathlib.Path(shutil.copytree(self.folder, folder))


class Runs:
    """The runs of a folder that all workers of the suite share."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def __call__(self, *flags: str) -> Trained:
        """The run of `flags`; whoever asks first trains it."""
        name = hashlib.sha256(json.dumps(flags).encode()).hexdigest()[:16]
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        told = folder / "told.json"
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not told.exists():
                shutil.rmtree(folder / "run", ignore_errors=True)
                found = processes.train(f"--run_dir={folder / 'run'}", *flags)
                assert found.returncode == 0, found.stderr
                told.write_text(json.dumps([found.stdout, found.stderr]))
        out, err = json.loads(told.read_text())
        result = subprocess.CompletedProcess(flags, 0, out, err)
        return Trained(folder / "run", result)
