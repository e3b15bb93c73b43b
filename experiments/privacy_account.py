"""Computes the epsilon of a run anew, from its run folder alone.

  python -m experiments.privacy account --run_dir=runs/...

The mechanism is that of config.json, checked against the flags there, and the
rounds are counted in ledger.jsonl (of runs from before there was one, in
metrics.jsonl); what the run itself wrote of epsilon is only compared with.
"""

import json
import operator
from typing import Any

from absl import flags

from tff_cnn.config import RunConfig
from tff_cnn.core.errors import FailedRunError, UsageError
from tff_cnn.privacy import STAGES, Stage, descriptions
from tff_cnn.privacy.history import History
from tff_cnn.privacy.ledger import Ledger, Mechanism, StagedLedger
from tff_cnn.training.releases import Releases
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
    if folder.read_config()["flags"].get("test_only_deterministic_noise"):
        print("NOT PRIVATE: the noise was deterministic.")
    _compare(folder, [statement["epsilon"] for statement in statements])


def ledger_of(folder: RunFolder) -> StagedLedger:
    """The ledger of a run, from its configuration and its number of rounds.

    Raises:
      UsageError: The run was not private, or its files contradict each other.
    """
    config = folder.read_config()
    history = _history(folder)
    keys = {leaf.path: leaf.key for leaf in RunConfig.leaves().values()}
    stages = []
    for stage in STAGES:
        if config["flags"].get(keys[stage.choice], "none") != "none":
            try:
                delta = float(config["flags"][keys[f"{stage.choice}.delta"]])
                mechanism = _mechanism(folder, config, stage, keys)
            except (KeyError, TypeError, ValueError) as error:
                if isinstance(error, UsageError):
                    raise
                raise UsageError(
                    f"{folder.config} describes no {stage.key} that makes "
                    f"sense ({error!r}): it was changed by hand; restore it."
                ) from error
            stages.append(
                Ledger(
                    mechanism,
                    delta,
                    history.rounds,
                    abandoned=history.abandoned,
                )
            )
    if not stages:
        off = ", ".join(f"<{stage.choice}>=none" for stage in STAGES)
        raise UsageError(
            f"--run_dir={folder.path} was trained with {off}: there is no "
            "epsilon to account for."
        )
    return StagedLedger(stages)


def _history(folder: RunFolder) -> History:
    """What the run has released.

    Raises:
      UsageError: Its record is missing or too short.
    """
    num_rows = len(folder.read_rows())
    if not folder.keeps_ledger():
        return History(num_rows)
    history = Releases(folder.ledger).history
    if num_rows > history.released or not folder.ledger.is_file():
        raise UsageError(
            f"{folder.ledger} has {history.released} rounds, but "
            f"{folder.metrics} has {num_rows}: what the run spent is not "
            "known; restore the file."
        )
    return history


def _mechanism(
    folder: RunFolder,
    config: dict[str, Any],
    stage: Stage,
    keys: dict[str, str],
) -> Mechanism:
    given = config["flags"]
    kind = stage.registry.find(given[keys[stage.choice]]).load()
    _check(folder, "name", config[stage.key]["name"], kind.__name__)
    mechanism = descriptions.read(kind, config[stage.key])
    for field, path in stage.says.items():
        expected = given[keys[path]]
        # The separation follows from the clients where it is not given.
        if expected is not None:
            found = operator.attrgetter(field)(mechanism)
            _check(folder, field, found, expected)
    return mechanism


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
    try:
        claims = [summary["epsilon"]]
        claims += [stage["epsilon"] for stage in summary["privacy"]["stages"]]
        claims = [float(claim) for claim in claims]
    except (KeyError, TypeError, ValueError):
        claims = []
    if len(claims) != len(epsilons) + 1:
        raise UsageError(
            f"{folder.summary} does not say an epsilon for each of the "
            f"{len(epsilons)} stages: it was changed by hand; restore it."
        )
    for claimed, epsilon in zip(claims, [epsilons[0], *epsilons], strict=True):
        if not claimed >= (1 - _TOLERANCE) * epsilon:
            raise FailedRunError(
                f"{folder.summary} claims epsilon {claimed:.6g}, but the run "
                f"spent {epsilon:.6g}."
            )
    shown = " and ".join(f"{claimed:.6g}" for claimed in claims[1:])
    if any(
        claimed > (1 + _TOLERANCE) * epsilon
        for claimed, epsilon in zip(claims[1:], epsilons, strict=True)
    ):
        print(
            f"The run's summary claims more, epsilon {shown}: what accountants "
            "of its time found, which holds as well."
        )
    else:
        print(f"The run's summary says the same: epsilon {shown}.")
