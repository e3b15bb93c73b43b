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
from tff_cnn.privacy import LOCAL_MECHANISMS, MECHANISMS
from tff_cnn.privacy.ledger import Ledger, StagedLedger
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
    statements = [stage.statement() for stage in ledger.stages]
    for statement in statements:
        print(json.dumps(statement, indent=2))
    if folder.read_config()["flags"]["test_only_deterministic_noise"]:
        print("NOT PRIVATE: the noise was deterministic.")
    _compare(folder, [statement["epsilon"] for statement in statements])


def ledger_of(folder: RunFolder) -> StagedLedger:
    """The ledger of a run, from its configuration and its number of rounds.

    Raises:
      UsageError: The run was not private, or its files contradict each other.
    """
    config = folder.read_config()
    rounds = [row["round"] for row in folder.read_rows()]
    _check(folder, "rounds", rounds, list(range(1, len(rounds) + 1)))
    stages = [
        Ledger(mechanism, config["flags"][f"{prefix}_delta"], len(rounds))
        for prefix, mechanism in (
            ("dp", _central_mechanism(folder, config)),
            ("local", _local_mechanism(folder, config)),
        )
        if mechanism is not None
    ]
    if not stages:
        raise UsageError(
            f"--run_dir={folder.path} was trained with --dp=none and "
            "--local_dp=none: there is no epsilon to account for."
        )
    return StagedLedger(stages)


def _central_mechanism(folder: RunFolder, config: dict[str, Any]) -> Any:
    given = config["flags"]
    if given["dp"] not in MECHANISMS:
        return None
    fields = dict(config["mechanism"])
    kind = MECHANISMS.get(given["dp"])
    _check(folder, "name", fields.pop("name"), kind.__name__)
    for name in ("clip_norm", "noise_multiplier"):
        _check(folder, name, fields[name], given[f"dp_{name}"])
    for name in ("sampling", "min_separation"):
        # The separation follows from the clients where it is not a flag.
        if given[name] is not None:
            _check(folder, name, fields[name], given[name])
    return kind(**fields)


def _local_mechanism(folder: RunFolder, config: dict[str, Any]) -> Any:
    given = config["flags"]
    if given.get("local_dp") not in LOCAL_MECHANISMS:
        return None
    fields = dict(config["local_mechanism"])
    kind = LOCAL_MECHANISMS.get(given["local_dp"])
    _check(folder, "name", fields.pop("name"), kind.__name__)
    for name, flag in (
        ("clip_norm", "local_clip"),
        ("noise_multiplier", "local_noise_multiplier"),
        ("expected_lot", "batch_size"),
        ("epochs", "client_epochs"),
        ("client_sampling", "sampling"),
    ):
        _check(folder, name, fields[name], given[flag])
    return kind(**fields)


def _check(folder: RunFolder, name: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise UsageError(
            f"{folder.path} contradicts itself: {name} is {found} in one place "
            f"and {expected} in another, so its files were changed by hand."
        )


def _compare(folder: RunFolder, epsilons: list[float]) -> None:
    """Checks what the run wrote itself, where it has ended."""
    summary = folder.read_summary()
    if summary is None:
        print("The run has not ended: this is its epsilon so far.")
        return
    # Of the first stage it is said in two places.
    claims = [summary["epsilon"]]
    claims += [stage["epsilon"] for stage in summary["privacy"]["stages"]]
    for claimed, epsilon in zip(claims, [epsilons[0], *epsilons], strict=True):
        if abs(claimed - epsilon) > _TOLERANCE * epsilon:
            raise FailedRunError(
                f"{folder.summary} claims epsilon {claimed:.6g}, but the run "
                f"spent {epsilon:.6g}."
            )
    print(
        "The run's summary says the same: epsilon "
        f"{' and '.join(f'{claimed:.6g}' for claimed in claims[1:])}."
    )
