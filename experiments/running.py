"""From a configuration to a finished run folder, from wherever it stands."""

import contextlib
import dataclasses
import sys
from typing import Any

import numpy as np

from experiments import assembly
from experiments.assembly import Run
from experiments.configuration import TrainConfig
from tff_cnn import runtime
from tff_cnn.aggregators.correlated import with_new_tree
from tff_cnn.core import weights
from tff_cnn.core.errors import FailedRunError, UsageError
from tff_cnn.evaluation.central import CentralEvaluation
from tff_cnn.evaluation.per_client import ClientAccuracy
from tff_cnn.privacy.ledger import describe
from tff_cnn.training import (
    canaries,
    curves,
    diagnostics,
    export,
    hooks,
    loop,
    privacy_card,
    private_metrics,
    provenance,
    summary,
)
from tff_cnn.training.checkpoints import Checkpoints
from tff_cnn.training.releases import BranchError, Releases
from tff_cnn.training.run_folder import MetricsWriter, RunFolder
from tff_cnn.training.run_secret import RunSecret
from tff_cnn.training.tensorboard import TensorBoardWriter

# In config.json -> how the stage's flags begin.
_MECHANISMS = {
    "mechanism": "dp",
    "local_update_mechanism": "local_update",
    "local_mechanism": "local",
}


def run(config: TrainConfig, folder: RunFolder) -> dict[str, Any]:
    """Builds and trains, from the newest checkpoint on if there is one.

    Where rounds that were released cannot be computed again as they were, the
    run goes on as a new branch, with cohorts and noise of its own, and what the
    old one released stays counted.

    Args:
      config: Of the run; what was resolved when it began is as it was then.
      folder: Held by this process.

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
            return train(built, folder)
        except BranchError as error:
            print(
                f"note: {error}; what was released stays counted, and the run "
                f"goes on after round {error.after} with new cohorts and new "
                "noise.",
                file=sys.stderr,
            )
            Releases(folder.ledger).begin(error.after)
            folder.discard_checkpoints_after(error.after)


def _load_secret(config: TrainConfig, folder: RunFolder) -> RunSecret | None:
    """That of a run which has begun; None where one is to be drawn."""
    is_known = not config.has_noise or config.test_only_deterministic_noise
    if is_known or not folder.holds_run():
        return None
    if not folder.keeps_ledger():  # From before there were secrets.
        return None
    return RunSecret.load(folder.secret)


def train(run: Run, folder: RunFolder) -> dict[str, Any]:
    """Trains and finishes a run that is built.

    Returns:
      The summary, as it is written to the run folder.

    Raises:
      BranchError: It has to go on as another branch, built anew.
      UsageError: The folder cannot be continued.
    """
    config = run.config
    with runtime.use(config.runtime, **config.runtime_options()):
        engine = run.engine
        template = engine.initialize()
        releases = Releases(folder.ledger) if run.ledger else None
        checkpoints = Checkpoints(
            folder.checkpoints,
            config.fingerprint(),
            config.rounds,
            config.checkpoint_every,
            ledger=run.ledger,
            releases=releases if folder.keeps_ledger() else None,
            other_fingerprints=[config.fingerprint_of_format_1()],
        )
        done, state = _load(checkpoints, folder, template)
        # Before anything is written; of a branch, what it has released.
        released = releases.last_round if releases else 0
        _check_not_beyond(max(done, released), config)
        if releases is not None:
            _prepare_ledger(run, folder, releases, done)
            if releases.branch > 1 and done == releases.branched_after:
                state = with_new_tree(state, template)
        if not folder.holds_run():
            folder.write_config(_describe(run, folder))
        rows = folder.truncate_rows(done)
        if not folder.checkpoint_rounds():
            checkpoints.save(0, template)
        if done:
            print(f"Continuing after round {done} of {folder.path}.")
        if _goes_on(run, rows):
            state = _run_rounds(
                run, engine, folder, checkpoints, releases, done, state, rows
            )
    final = list(engine.weights(state))
    initial = list(engine.weights(template))
    audit = _audit(run, folder, initial, final)
    return _finish(run, folder, rows, final, audit, releases)


def _load(
    checkpoints: Checkpoints, folder: RunFolder, template: Any
) -> tuple[int, Any]:
    """The newest good checkpoint; round 0 of a run that has none yet."""
    if not folder.checkpoint_rounds() and folder.holds_rounds():
        raise UsageError(
            f"{folder.path} holds rounds of a run, but {folder.checkpoints} "
            "has no checkpoint to go on from: restore one or train in another "
            "--run_dir."
        )
    done, state, refused = checkpoints.load_latest(template)
    for error in refused:
        print(f"note: {error}; that of round {done} is used.", file=sys.stderr)
    folder.check_rows(done)
    return done, state


def _describe(run: Run, folder: RunFolder) -> dict[str, Any]:
    """The content of config.json."""
    content = provenance.describe(dataclasses.asdict(run.config))
    for name, prefix in _MECHANISMS.items():
        stage = run.ledger and run.ledger.stage(prefix)
        content[name] = stage and describe(stage.mechanism)
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
            "in another --run_dir."
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


def _check_not_beyond(done: int, config: TrainConfig) -> None:
    if done > config.rounds:
        raise UsageError(
            f"the run in {config.run_dir} has {done} rounds already, more than "
            f"--rounds={config.rounds}: ask for more or use another --run_dir."
        )


def _run_rounds(run, engine, folder, checkpoints, releases, done, state, rows):
    config, task = run.config, run.task
    before = engine.weights(state)
    evaluate = CentralEvaluation(
        task.build_model(), task.evaluation, task.pixel_max
    )

    def count_examples(cohort):
        return config.client_epochs * sum(
            map(task.clients.num_examples, cohort)
        )

    progress = hooks.ProgressBar(done + 1, config.rounds)
    board = TensorBoardWriter(folder.tensorboard, rows)
    try:
        return loop.run_rounds(
            engine,
            state,
            range(done + 1, config.rounds + 1),
            [
                hooks.LedgerHook(run.ledger),
                *_canary_hooks(run, folder, done, before),
                *_diagnostics(run, before, rows),
                hooks.CostHook(weights.num_bytes(before), count_examples),
                hooks.EvaluationHook(
                    evaluate,
                    config.rounds,
                    config.eval_every,
                    config.target_accuracy,
                ),
                MetricsWriter(folder, rows),
                checkpoints,
                board,
                progress,
            ],
            releasing=[
                *_private_metrics(run, before),
                *([hooks.ReleaseHook(releases)] if releases else []),
            ],
        )
    except BaseException:
        # Ctrl-C above all; where the disk is full, there is no saving.
        with contextlib.suppress(OSError, FailedRunError):
            checkpoints.save_latest()
        raise
    finally:
        progress.close()
        board.close()


def _diagnostics(run, before, rows):
    """The hook of a private run that tells how much of it is noise."""
    if run.central is None:
        return []
    return [
        diagnostics.DiagnosticsHook(
            run.central.mechanism,
            weights.num_parameters(before),
            run.config.rounds,
            rows,
        )
    ]


def _private_metrics(run, before):
    """The hook that releases the cohort's accuracy, where it is asked for."""
    if not run.config.dp_metrics:
        return []
    task = run.task
    return [
        private_metrics.CohortAccuracyHook(
            ClientAccuracy(task.build_model(), task.clients, task.pixel_max),
            before,
            run.central.mechanism,
            run.metric_seed,
        )
    ]


def _canary_hooks(run, folder, done, before):
    if not run.config.audit_canaries:
        return []
    return [
        canaries.CanaryHook(run.task.canaries, folder.canaries, done, before)
    ]


def _audit(run, folder, initial, final):
    """What the canaries say, where there are any."""
    if not run.config.audit_canaries:
        return None
    return canaries.report(
        run.task.canaries,
        folder.canaries,
        initial,
        final,
        run.central.epsilon(),
        run.central.delta,
    )


def _finish(
    run: Run,
    folder: RunFolder,
    rows: list[loop.Row],
    final: list[np.ndarray],
    audit: dict[str, Any] | None,
    releases: Releases | None,
) -> dict[str, Any]:
    """Curves, export, and last of all the summary: it says that all is done."""
    config, task = run.config, run.task
    for stage in run.ledger.stages if run.ledger else ():
        # Whatever was recorded counts.
        stage.rounds = max(stage.rounds, releases.last_round)
    result = summary.summarize(
        rows,
        final,
        config.target_accuracy,
        run.ledger,
        deterministic_noise=config.test_only_deterministic_noise,
        evaluated_on=config.evaluate_on,
        audit=audit,
        last_round=config.rounds,
        num_unsecret=releases.num_unsecret if run.is_amplified else 0,
    )
    curves.draw(
        folder.curves,
        rows,
        f"{config.algorithm} on {config.dataset}, "
        f"{run.sampler.num_clients} clients",
        config.evaluate_on,
    )
    export.export(
        folder.export,
        task.build_model(),
        final,
        task.pixel_max,
        result["privacy"]["guarantee"],
        privacy_card.render(result),
    )
    folder.write_summary(result)
    return result
