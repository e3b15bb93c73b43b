"""Where a run comes from: config.json."""

import importlib.metadata
import pathlib
import platform
import subprocess
import sys
from typing import Any

import tff_cnn

_PACKAGES = (
    "tensorflow",
    "tensorflow-federated",
    "tensorflow-privacy",
    "dp-accounting",
    "numpy",
)
# What earlier runs have recorded changes nothing in this one.
_NOT_RESULTS = ":(exclude,glob)**/results/*.json"


def describe(flags: dict[str, Any]) -> dict[str, Any]:
    """The content of config.json.

    Args:
      flags: Every flag as resolved; None where it does not apply.
    """
    return {
        "flags": flags,
        "seed": flags["seed"],
        "command": sys.argv,
        "commit": commit_of(pathlib.Path(tff_cnn.__file__).parents[1]),
        "versions": {
            "tff_cnn": tff_cnn.__version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "platform": platform.platform(),
    }


def commit_of(root: pathlib.Path) -> str | None:
    """The checkout's commit, "+changes" where it is not clean; None without."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changes = _git(
            root, "status", "--porcelain", "-uall", "--", ".", _NOT_RESULTS
        )
        return commit + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: pathlib.Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
