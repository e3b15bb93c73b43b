"""The result of a run of a published baseline, written by the run itself.

A baseline is a flagfile, `experiments/baselines/<paper>/<name>.flags`; results
stand beside it in `results/`, one JSON file a run.
"""

import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from experiments import flagfiles, outputs
from tff_cnn import identity
from tff_cnn.config import RunConfig
from tff_cnn.core import paths
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import to_json
from tff_cnn.training.run_folder import RunFolder


def baseline_of(argv: Sequence[str]) -> str:
    """The baseline that a command runs, as "<paper>/<name>".

    Args:
      argv: As typed.

    Raises:
      UsageError: It names no flagfile, or several.
    """
    named = flagfiles.named(argv[1:])
    if len(named) != 1:
        raise UsageError(
            f"--record with {len(named)} flagfiles: a record is the result of "
            "one baseline, so name its --flagfile."
        )
    path = pathlib.Path(named[0])
    return f"{path.parent.name}/{path.stem}"


def check(path: str, argv: Sequence[str]) -> None:
    """Refuses, before the run, a place where no record can be written.

    Args:
      path: Of --record.
      argv: As typed.

    Raises:
      UsageError: It cannot be written to, holds something else than a record,
        or `argv` names no baseline.
    """
    baseline_of(argv)
    paths.check_writable_file(path, "--record")
    if not pathlib.Path(path).exists():
        return
    try:
        found = json.loads(pathlib.Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        found = None
    if not (isinstance(found, dict) and "baseline" in found):
        raise UsageError(
            f"--record={path} holds something else than a record, which would "
            "be lost: name another file."
        )


def write(
    path: str,
    config: RunConfig,
    folder: RunFolder,
    summary: dict[str, Any],
    argv: Sequence[str],
) -> None:
    """Writes the record of a finished run.

    Args:
      path: Of --record.
      config: Of the run.
      folder: Its run folder.
      summary: As in its summary.json.
      argv: As typed.
    """
    # Imported here: NumPy takes a moment, and mistakes are answered at once.
    from tff_cnn.training.summary import measured

    made_by = folder.read_config()
    privacy = summary["privacy"]
    # Where data and results are is nobody else's business.
    names = {*identity.all_material(config), "rounds"}
    given = {
        name: value
        for name, value in made_by["flags"].items()
        if name in names and value is not None
    }
    record = {
        "baseline": baseline_of(argv),
        "flags": given,
        "seed": made_by["seed"],
        "test_accuracy": summary["test_accuracy"],
        "epsilon": summary["epsilon"],
        "epsilon_rdp": privacy.get("epsilon_rdp"),
        "delta": summary["delta"],
        "unit": privacy.get("unit"),
        "noise_multiplier": summary["noise_multiplier"],
        "is_private": summary["is_private"],
        # Neighbours and sampling too, without which epsilon says nothing.
        "stages": privacy["stages"],
        "rounds": summary["rounds"],
        "rounds_to_target": summary["rounds_to_target"],
        "measured": measured(summary),
        "seconds": math.fsum(row["seconds"] for row in folder.read_rows()),
        "commit": made_by["commit"],
        "versions": made_by["versions"],
    }
    outputs.write(path, (to_json(record, indent=2) + "\n").encode())
