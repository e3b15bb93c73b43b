"""From the parts of a run to a finished folder, from wherever it stands."""

import sys
from collections.abc import Mapping
from typing import Any

from tff_cnn import identity
from tff_cnn.aggregators.correlated import with_new_tree
from tff_cnn.algorithms import ALGORITHMS
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.models import cost_table
from tff_cnn.privacy import STAGES
from tff_cnn.privacy.descriptions import describe
from tff_cnn.training import (
    assembly,
    client_evaluation,
    ending,
    hooks,
    loop,
    provenance,
    rounds,
)
from tff_cnn.training.assembly import Run
from tff_cnn.training.checkpoints import Checkpoints
from tff_cnn.training.releases import BranchError, Releases
from tff_cnn.training.run_folder import RunFolder
from tff_cnn.training.run_secret import RunSecret


def run(
    config: RunConfig,
    folder: RunFolder,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Builds and trains, from the newest checkpoint on if there is one.

    A runtime is open (`tff_cnn.runtime.use`).

    Where rounds that were released cannot be computed again as they were, the
    run goes on as a new branch, with cohorts and noise of its own, and what the
    old one released stays counted.

    Args:
      config: Of the run; what was resolved when it began is as it was then.
      folder: Held by this process.
      notes: Written to config.json beside the configuration.

    Returns:
      The summary, as it is written to the run folder.

    Raises:
      UsageError: As `assembly.build`, and a folder that cannot be continued.
    """
    secret = _load_secret(config, folder)
    while True:
        branch = Releases(folder.ledger).branch
        built = assembly.build(config, secret, max(1, branch))
        secret = built.secret
        try:
            return train(built, folder, notes or {})
        except BranchError as error:
            print(
                f"note: {error}; what was released stays counted, and the run "
                f"goes on after round {error.after} with new cohorts and new "
                "noise.",
                file=sys.stderr,
            )
            Releases(folder.ledger).begin(error.after)
            folder.discard_checkpoints_after(error.after)


def _load_secret(config: RunConfig, folder: RunFolder) -> RunSecret | None:
    """The secret of a run that has begun; None where one is to be drawn."""
    is_known = not config.has_noise or config.test_only_deterministic_noise
    if is_known or not folder.holds_run():
        return None
    if not folder.keeps_ledger():  # From before there were secrets.
        return None
    return RunSecret.load(folder.secret)


def train(
    run: Run, folder: RunFolder, notes: Mapping[str, Any]
) -> dict[str, Any]:
    """Trains and finishes a run that is built.

    Returns:
      The summary, as it is written to the run folder.

    Raises:
      BranchError: It has to go on as another branch, built anew.
      UsageError: The folder cannot be continued.
    """
    config = run.config
    engine = run.engine(folder.new_scratch())
    template = engine.initialize()
    releases = Releases(folder.ledger) if run.ledger else None
    checkpoints = Checkpoints(
        folder.checkpoints,
        identity.fingerprint(config),
        config.rounds,
        config.checkpoint_every,
        ledger=run.ledger,
        releases=releases if folder.keeps_ledger() else None,
        other_fingerprints=[identity.fingerprint_of_format_1(config)],
    )
    done, state = _load(checkpoints, folder, template)
    # Before anything is written; of a branch, what it has released.
    released = releases.last_round if releases else 0
    _check_not_beyond(max(done, released), config, folder)
    if releases is not None:
        _prepare_ledger(run, folder, releases, done)
        if releases.branch > 1 and done == releases.branched_after:
            state = with_new_tree(state, template)
    if not folder.holds_run():
        folder.write_config(_describe(run, folder, notes))
    rows = folder.truncate_rows(done)
    if not folder.checkpoint_rounds():
        checkpoints.save(0, template)
    if done:
        print(f"Continuing after round {done} of {folder.path}.")
    standing = rounds.Standing(done, state, rows, checkpoints, releases)
    clients = client_evaluation.of_run(run, engine)
    if _goes_on(run, rows):
        if not done:
            print(_costs(run))
        state = rounds.run_rounds(run, engine, folder, standing, clients)
    initial = list(engine.weights(template))
    final = list(engine.weights(state))
    table = clients and clients.final(rows[-1]["round"], state)
    folder.drop_scratch()
    return ending.finish(run, folder, rows, initial, final, releases, table)


def _load(
    checkpoints: Checkpoints, folder: RunFolder, template: Any
) -> tuple[int, Any]:
    """The newest good checkpoint; round 0 of a run that has none yet."""
    if not folder.checkpoint_rounds() and folder.holds_rounds():
        raise UsageError(
            f"{folder.path} holds rounds of a run, but {folder.checkpoints} "
            "has no checkpoint to go on from: restore one or train in another "
            "<run_dir>."
        )
    done, state, refused = checkpoints.load_latest(template)
    for error in refused:
        print(f"note: {error}; that of round {done} is used.", file=sys.stderr)
    folder.check_rows(done)
    return done, state


def _costs(run: Run) -> str:
    """What the model costs, for who watches the run begin."""
    is_float32 = run.config.compute_dtype == "float32"
    traffic = None
    if hasattr(run.process, "bytes_down"):
        traffic = run.process.bytes_down, run.process.bytes_up
    elif "engine" in ALGORITHMS.entry_of(run.config.algorithm).facts:
        traffic = ()  # Rows tell it.
    return cost_table.describe_model(
        run.task.model,
        run.sampler.expected_cohort,
        bytes_per_number=4 if is_float32 else 2,
        traffic=traffic,
    )


def _describe(
    run: Run, folder: RunFolder, notes: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of config.json."""
    content = provenance.describe({**run.config.flat(), **notes})
    for stage in STAGES:
        found = run.ledger and run.ledger.of(stage.choice)
        content[stage.key] = found and describe(found.mechanism)
    if run.ledger:  # Whoever misses it knows that there was one.
        content["ledger"] = folder.ledger.name
    return content


def _prepare_ledger(
    run: Run, folder: RunFolder, releases: Releases, done: int
) -> None:
    """Puts what the run has released into its ledger; begins the record.

    Raises:
      BranchError: Rounds after `done` were released, and cannot be computed
        again as they were.
      UsageError: The record is missing.
    """
    if not releases.branch:
        folder.begin_ledger(releases, run.secret, done)
    elif not folder.holds_run() and not run.secret.is_known:
        # Killed before it wrote config.json: nothing was released.
        run.secret.save(folder.secret)
    if len(folder.read_rows()) > releases.history.released:
        raise UsageError(
            f"{folder.metrics} has more rounds than {folder.ledger}, which was "
            "cut, so what the run has spent is not known: restore it or train "
            "in another <run_dir>."
        )
    for branch in releases.history.abandoned:
        run.ledger.abandon(*branch)
    last = releases.last_round
    if last > done and not (run.is_repeatable and releases.is_known(done + 1)):
        raise BranchError(
            done,
            f"rounds {done + 1} to {last} had been released and cannot be "
            "computed again as they were",
        )


def _goes_on(run: Run, rows: list[loop.Row]) -> bool:
    """Whether a run whose last round is the last of `rows` has more to do."""
    if rows and hooks.reaches(rows[-1], run.config.target_accuracy):
        return False
    for stage in run.ledger.stages if run.ledger and not rows else ():
        stage.check_next_round()  # Nothing is left for a model to come from.
    return run.ledger is None or run.ledger.allows_next_round()


def _check_not_beyond(done: int, config: RunConfig, folder: RunFolder) -> None:
    if done > config.rounds:
        raise UsageError(
            f"the run in {folder.path} has {done} rounds already, more than "
            f"<rounds>={config.rounds}: ask for more or use another <run_dir>."
        )
