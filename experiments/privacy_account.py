"""Computes the epsilon of a run anew, from its run folder alone.

  python -m experiments.privacy account --run_dir=runs/...

The mechanism is that of config.json, checked against the flags there, and the
rounds are counted in metrics.jsonl; what the run itself wrote of epsilon is
only compared with.
"""

import json
from typing import Any

from absl import flags

from tff_cnn.core.errors import FailedRunError, UsageError
from tff_cnn.privacy import MECHANISMS
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.training.run_folder import RunFolder

# Accountants may differ by this much between versions and machines.
_TOLERANCE = 1e-3


def define_flags() -> None:
    """Defines the flags of `account`."""
    flags.DEFINE_string("run_dir", None, "The run folder.")


def main(argv: list[str]) -> None:
    """Prints the guarantee; fails where the run claimed another epsilon."""
    del argv
    if not flags.FLAGS.run_dir:
        raise UsageError("--run_dir is missing: name the folder of a run.")
    folder = RunFolder(flags.FLAGS.run_dir)
    if not folder.holds_run():
        raise UsageError(
            f"--run_dir={folder.path} holds no config.json of a run: name the "
            "folder of one."
        )
    ledger = ledger_of(folder)
    statement = ledger.statement()
    print(json.dumps(statement, indent=2))
    if folder.read_config()["flags"]["test_only_deterministic_noise"]:
        print("NOT PRIVATE: the noise was deterministic.")
    _compare(folder, statement["epsilon"])


def ledger_of(folder: RunFolder) -> Ledger:
    """The ledger of a run, from its configuration and its number of rounds.

    Raises:
      UsageError: The run was not private, or its files contradict each other.
    """
    config = folder.read_config()
    given = config["flags"]
    if given["dp"] not in MECHANISMS:
        raise UsageError(
            f"--run_dir={folder.path} was trained with --dp={given['dp']}: "
            "there is no epsilon to account for."
        )
    fields = dict(config["mechanism"])
    kind = MECHANISMS.get(given["dp"])
    _check(folder, "name", fields.pop("name"), kind.__name__)
    for name in ("clip_norm", "noise_multiplier"):
        _check(folder, name, fields[name], given[f"dp_{name}"])
    for name in ("sampling", "min_separation"):
        # The separation follows from the clients where it is not a flag.
        if given[name] is not None:
            _check(folder, name, fields[name], given[name])
    rounds = [row["round"] for row in folder.read_rows()]
    _check(folder, "rounds", rounds, list(range(1, len(rounds) + 1)))
    return Ledger(kind(**fields), given["dp_delta"], len(rounds))


def _check(folder: RunFolder, name: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise UsageError(
            f"{folder.path} contradicts itself: {name} is {found} in one place "
            f"and {expected} in another, so its files were changed by hand."
        )


def _compare(folder: RunFolder, epsilon: float) -> None:
    """Checks what the run wrote itself, where it has ended."""
    summary = folder.read_summary()
    if summary is None:
        print("The run has not ended: this is its epsilon so far.")
        return
    claimed = summary["epsilon"]
    if abs(claimed - epsilon) > _TOLERANCE * epsilon:
        raise FailedRunError(
            f"{folder.summary} claims epsilon {claimed:.6g}, but the run spent "
            f"{epsilon:.6g}."
        )
    print(f"The run's summary says the same: epsilon {claimed:.6g}.")
