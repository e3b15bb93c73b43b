"""The rounds of a run, with all that hangs on them."""

import contextlib
import dataclasses
from typing import Any

from tff_cnn.core import weights
from tff_cnn.core.errors import FailedRunError
from tff_cnn.evaluation.central import CentralEvaluation
from tff_cnn.evaluation.federated import FederatedEvaluation
from tff_cnn.training import (
    canaries,
    client_evaluation,
    diagnostics,
    hooks,
    loop,
    private_metrics,
)
from tff_cnn.training.assembly import Run
from tff_cnn.training.checkpoints import Checkpoints
from tff_cnn.training.engine import Engine
from tff_cnn.training.releases import Releases
from tff_cnn.training.run_folder import MetricsWriter, RunFolder
from tff_cnn.training.tensorboard import TensorBoardWriter


@dataclasses.dataclass(frozen=True)
class Standing:
    """Where a run stands when its rounds go on.

    Attributes:
      done: Rounds.
      state: The engine's after them.
      rows: Of these rounds; those that follow are added.
      checkpoints: Of the run.
      releases: Of a private run.
    """

    done: int
    state: Any
    rows: list[loop.Row]
    checkpoints: Checkpoints
    releases: Releases | None


def run_rounds(
    run: Run,
    engine: Engine,
    folder: RunFolder,
    standing: Standing,
    clients: client_evaluation.ClientEvaluation | None = None,
) -> Any:
    """Runs the rounds that are left, with all hooks; returns the last state."""
    config, task = run.config, run.task
    done, rows = standing.done, standing.rows
    before = engine.weights(standing.state)
    evaluations = {
        name: CentralEvaluation(
            task.model, examples, task.prepare, task.objective
        )
        for name, examples in task.evaluated.items()
    }

    def count_examples(cohort):
        return config.client_epochs * sum(
            map(task.clients.num_examples, cohort)
        )

    progress = hooks.ProgressBar(done + 1, config.rounds)
    board = TensorBoardWriter(folder.tensorboard, rows)
    try:
        return loop.run_rounds(
            engine,
            standing.state,
            range(done + 1, config.rounds + 1),
            [
                hooks.LedgerHook(run.ledger),
                *_canary_hooks(run, folder, done, before),
                *_diagnostics(run, before, rows),
                hooks.CostHook(weights.num_bytes(before), count_examples),
                hooks.EvaluationHook(
                    evaluations,
                    config.rounds,
                    config.eval_every,
                    config.target_accuracy,
                ),
                *_client_evaluation(config, clients, folder),
                MetricsWriter(folder, rows),
                standing.checkpoints,
                board,
                progress,
            ],
            releasing=[
                *_private_metrics(run, before),
                *_recording(standing.releases),
            ],
        )
    except BaseException:
        # Ctrl-C above all; where the disk is full, there is no saving.
        with contextlib.suppress(OSError, FailedRunError):
            standing.checkpoints.save_latest()
        raise
    finally:
        progress.close()
        board.close()


def _client_evaluation(config, clients, folder):
    """The hook that evaluates each client by itself, where it is asked for."""
    if clients is None:
        return []
    return [
        client_evaluation.ClientEvaluationHook(
            clients, folder, config.rounds, config.client_eval_every
        )
    ]


def _recording(releases):
    """The hook that writes ahead what a private run is about to release."""
    return [] if releases is None else [hooks.ReleaseHook(releases)]


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
    if not getattr(run.config.dp, "metrics", False):
        return []
    task = run.task
    evaluation = FederatedEvaluation(
        task.model, task.evaluation, task.prepare, task.objective
    )
    return [
        private_metrics.CohortAccuracyHook(
            lambda weights, cohort: (
                evaluation(task.clients, weights, cohort).accuracy
            ),
            before,
            run.central.mechanism,
            run.metric_seed,
        )
    ]


def _canary_hooks(run, folder, done, before):
    """The hook of an audited run that follows its canaries."""
    if not getattr(run.config.dp, "audit_canaries", 0):
        return []
    return [
        canaries.CanaryHook(run.task.canaries, folder.canaries, done, before)
    ]
