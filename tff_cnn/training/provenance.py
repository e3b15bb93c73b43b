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


def describe(flags: dict[str, Any]) -> dict[str, Any]:
    """The content of config.json.

    Args:
      flags: Every flag as resolved; None where it does not apply.
    """
    return {
        "flags": flags,
        "seed": flags["seed"],
        "command": sys.argv,
        "commit": _commit(),
        "versions": {
            "tff_cnn": tff_cnn.__version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "platform": platform.platform(),
    }


def _commit() -> str | None:
    """The checkout's commit, "+changes" where it is not clean; None without."""
    root = pathlib.Path(tff_cnn.__file__).parents[1]
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + (
            "+changes" if _git(root, "status", "--porcelain") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: pathlib.Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
