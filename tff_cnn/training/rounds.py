"""The rounds of a run, with all that hangs on them."""

import contextlib
import dataclasses
import functools
from typing import Any

from tff_cnn.core import randomness, weights
from tff_cnn.core.errors import FailedRunError
from tff_cnn.evaluation.central import CentralEvaluation
from tff_cnn.evaluation.federated import FederatedEvaluation
from tff_cnn.evaluation.robust import RobustAccuracy
from tff_cnn.models import adversaries
from tff_cnn.training import (
    attacked,
    canaries,
    client_evaluation,
    diagnostics,
    hooks,
    learning_rates,
    ledgers,
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
                hooks.LearningRateHook(
                    functools.partial(learning_rates.row, config)
                ),
                hooks.CostHook(weights.num_bytes(before), run.count_examples),
                *_clock(run, rows),
                hooks.EvaluationHook(
                    evaluations,
                    config.rounds,
                    config.eval_every,
                    config.target_accuracy,
                ),
                *_attack(run),
                *_robustness(run),
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


def _clock(run, rows):
    """The hook that reads the simulated clock, where there is one."""
    if run.config.client_speed is None:
        return []
    return [hooks.ClockHook(run.simulated_seconds, rows)]


def _diagnostics(run, before, rows):
    """The hook of a private run that tells how much of it is noise."""
    if run.central is None:
        return []
    return [
        diagnostics.DiagnosticsHook(
            run.central.mechanism,
            ledgers.update_size(run.config, weights.num_parameters(before)),
            run.config.rounds,
            rows,
        )
    ]


def _attack(run):
    """The hook that tells of who attacks, and with what success."""
    if not isinstance(run.task, attacked.AttackedTask):
        return []
    return [attacked.AttackHook(run.task)]


def _robustness(run):
    """The hook that attacks the model, where it is trained to stand that."""
    options, task = run.config.algorithm, run.task
    if not hasattr(options, "robust_evaluation"):
        return []
    evaluate = RobustAccuracy(
        task.model,
        task.evaluation,
        task.prepare,
        adversaries.pgd(*options.robust_evaluation),
        randomness.stateless_seed(
            run.config.seed, randomness.Purpose.ROBUST_EVALUATION
        ),
        task.objective,
    )
    every = options.robust_eval_every
    return [hooks.RobustnessHook(evaluate, run.config.rounds, every)]


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
