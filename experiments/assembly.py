"""From a configuration to a finished run folder."""

import dataclasses
import secrets
import sys
from typing import Any

import numpy as np
import tensorflow_federated as tff

from experiments import ledgers
from experiments.configuration import TrainConfig
from tff_cnn import runtime, tasks
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms import ALGORITHMS, dp_sgd
from tff_cnn.algorithms.local_training import Weighting
from tff_cnn.algorithms.optimizers import OPTIMIZERS
from tff_cnn.core import randomness, weights
from tff_cnn.core.errors import UsageError
from tff_cnn.data import SOURCES
from tff_cnn.data.preprocessing import Batching
from tff_cnn.evaluation.central import CentralEvaluation
from tff_cnn.evaluation.per_client import ClientAccuracy
from tff_cnn.models import functional
from tff_cnn.privacy.ledger import Ledger, StagedLedger, describe
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
from tff_cnn.training.run_folder import MetricsWriter, RunFolder
from tff_cnn.training.tensorboard import TensorBoardWriter

# In config.json -> how the stage's flags begin.
_MECHANISMS = {
    "mechanism": "dp",
    "local_update_mechanism": "local_update",
    "local_mechanism": "local",
}


@dataclasses.dataclass
class Run:
    """The parts of a run, built and checked; nothing is on disk yet.

    Attributes:
      config: With noise multipliers and deltas resolved.
      task: Data and model.
      batching: Clients' local steps.
      sampler: Draws the cohorts.
      ledger: None without differential privacy.
      process: A TFF learning process.
      local_seed: Root of what clients draw; secret where that protects them.
    """

    config: TrainConfig
    task: tasks.Task
    batching: Batching
    sampler: Any
    ledger: StagedLedger | None
    process: tff.learning.templates.LearningProcess
    local_seed: int

    @property
    def central(self) -> Ledger | None:
        """The ledger of the aggregation, if that has noise."""
        return self.ledger and self.ledger.stage("dp")


def build(config: TrainConfig) -> Run:
    """Builds all parts of a run.

    Raises:
      UsageError: Data that is not there, and parts that do not fit together.
    """
    runtime.prepare(config.runtime, **config.preparation())
    task = build_task(config)
    num_clients = len(task.clients)
    sampler = ledgers.build_sampler(config, num_clients)
    batching = Batching(
        config.client_epochs,
        config.batch_size,
        poisson=config.is_locally_private,
    )
    task.check_memory(batching, sampler.expected_cohort)
    client_sizes = [task.clients.num_examples(c) for c in range(num_clients)]
    ledger = ledgers.build_ledgers(
        config, sampler, client_sizes, task.num_parameters
    )
    for stage in ledger.stages if ledger else ():
        prefix, mechanism = stage.mechanism.prefix, stage.mechanism
        resolved = {
            f"{prefix}_noise_multiplier": mechanism.noise_multiplier,
            f"{prefix}_delta": stage.delta,
        }
        config = dataclasses.replace(config, **resolved)
    noise_seed, local_seed = None, config.seed
    if config.test_only_deterministic_noise:
        noise_seed = randomness.integer_seed(
            config.seed, randomness.Purpose.TEST_ONLY_NOISE
        )
    elif config.is_locally_private:
        # Whoever knows it can subtract the noise.
        local_seed = secrets.randbits(128)
    central = ledger and ledger.stage("dp")
    randomizer = ledger and ledger.stage("local_update")
    local = ledger and ledger.stage("local")
    model = functional.from_keras(task.build_model(), config.compute_dtype)
    gradients = local and dp_sgd.build_gradients(model, local.mechanism)
    if config.audit_canaries:
        task, sampler = canaries.audited(
            task,
            sampler,
            config.audit_canaries,
            config.dp_clip_norm,
            config.seed,
        )
    optimizer = OPTIMIZERS.get(config.server_optimizer)
    momentum = {}
    if config.server_momentum:
        momentum["momentum"] = config.server_momentum
    process = ALGORITHMS.get(config.algorithm)(
        model=model,
        client_optimizer=OPTIMIZERS.get(config.client_optimizer)(
            config.client_learning_rate
        ),
        server_optimizer=optimizer(config.server_learning_rate, **momentum),
        aggregator=build_aggregator(
            central and central.mechanism,
            noise_seed,
            randomizer and randomizer.mechanism,
        ),
        weighting=Weighting(config.client_weighting),
        element_spec=task.element_spec,
        preprocess=task.preprocess,
        gradients=gradients,
    )
    return Run(config, task, batching, sampler, ledger, process, local_seed)


def build_task(config: TrainConfig) -> tasks.Task:
    """Data and model of the flags.

    Raises:
      UsageError: Data that is not there, and parts that do not fit together.
    """
    return tasks.build_task(
        SOURCES.get(config.dataset)(config.data_dir, config.download),
        config.partition,
        _partition_options(config),
        config.num_clients,
        config.model,
        config.seed,
        use_validation=config.evaluate_on == "validation",
    )


def _partition_options(config: TrainConfig) -> dict[str, float]:
    options = {
        "alpha": config.dirichlet_alpha,
        "shards_per_client": config.shards_per_client,
    }
    return {name: value for name, value in options.items() if value is not None}


def train(run: Run, folder: RunFolder) -> dict[str, Any]:
    """Trains, from the newest checkpoint on if there is one, and finishes.

    Returns:
      The summary, as it is written to the run folder.
    """
    config = run.config
    with runtime.use(config.runtime, **config.runtime_options()):
        template = run.process.initialize()
        checkpoints = Checkpoints(
            folder.checkpoints,
            config.fingerprint(),
            config.rounds,
            config.checkpoint_every,
            ledger=run.ledger,
        )
        done, state, refused = checkpoints.load_latest(template)
        for error in refused:
            print(f"note: {error}; the one before it is used.", file=sys.stderr)
        _check_not_beyond(done, config)
        if not folder.holds_run():
            folder.write_config(_describe(run))
        rows = folder.truncate_rows(done)
        if done:
            print(f"Continuing after round {done} of {folder.path}.")
        if _goes_on(run, rows):
            state = _run_rounds(run, folder, checkpoints, done, state, rows)
    final = list(state.global_model_weights.trainable)
    initial = list(template.global_model_weights.trainable)
    audit = _audit(run, folder, initial, final)
    return _finish(run, folder, rows, final, audit)


def _describe(run: Run) -> dict[str, Any]:
    """The content of config.json."""
    content = provenance.describe(dataclasses.asdict(run.config))
    for name, prefix in _MECHANISMS.items():
        stage = run.ledger and run.ledger.stage(prefix)
        content[name] = stage and describe(stage.mechanism)
    return content


def _goes_on(run: Run, rows: list[loop.Row]) -> bool:
    """Whether a run whose last round is the last of `rows` has more to do."""
    if rows and hooks.reaches(rows[-1], run.config.target_accuracy):
        return False
    return run.ledger is None or run.ledger.allows_next_round()


def _check_not_beyond(done: int, config: TrainConfig) -> None:
    if done > config.rounds:
        raise UsageError(
            f"the run in {config.run_dir} has {done} rounds already, more than "
            f"--rounds={config.rounds}: ask for more or use another --run_dir."
        )


def _run_rounds(run, folder, checkpoints, done, state, rows):
    config, task = run.config, run.task
    evaluate = CentralEvaluation(
        task.build_model(), task.evaluation, task.pixel_max
    )

    def sample_cohort(round_num):
        return run.sampler.sample(round_num, config.seed)

    def count_examples(cohort):
        return config.client_epochs * sum(
            map(task.clients.num_examples, cohort)
        )

    progress = hooks.ProgressBar(done + 1, config.rounds)
    board = TensorBoardWriter(folder.tensorboard, rows)
    try:
        return loop.run_rounds(
            run.process,
            state,
            range(done + 1, config.rounds + 1),
            sample_cohort,
            lambda client, number: task.client_data(
                client, number, run.local_seed, run.batching
            ),
            [
                hooks.LedgerHook(run.ledger),
                *_canary_hooks(run, folder, done, state),
                *_diagnostics(run, state, rows),
                hooks.CostHook(
                    weights.num_bytes(state.global_model_weights.trainable),
                    count_examples,
                ),
                hooks.EvaluationHook(
                    evaluate,
                    lambda s: s.global_model_weights.trainable,
                    config.rounds,
                    config.eval_every,
                    config.target_accuracy,
                ),
                MetricsWriter(folder, rows),
                checkpoints,
                board,
                progress,
            ],
        )
    finally:
        progress.close()
        board.close()


def _diagnostics(run, state, rows):
    """The hook of a private run that tells how much of it is noise."""
    if run.central is None:
        return []
    mechanism = run.central.mechanism
    found = [
        diagnostics.DiagnosticsHook(
            mechanism,
            weights.num_parameters(state.global_model_weights.trainable),
            run.config.rounds,
            rows,
        )
    ]
    if run.config.dp_metrics:
        task, config = run.task, run.config
        found.append(
            private_metrics.CohortAccuracyHook(
                ClientAccuracy(
                    task.build_model(), task.clients, task.pixel_max
                ),
                lambda s: s.global_model_weights.trainable,
                state,
                mechanism,
                config.seed if config.test_only_deterministic_noise else None,
            )
        )
    return found


def _canary_hooks(run, folder, done, state):
    if not run.config.audit_canaries:
        return []
    weights = state.global_model_weights.trainable
    return [
        canaries.CanaryHook(run.task.canaries, folder.canaries, done, weights)
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
) -> dict[str, Any]:
    """Curves, export, and last of all the summary: it says that all is done."""
    config, task = run.config, run.task
    result = summary.summarize(
        rows,
        final,
        config.target_accuracy,
        run.ledger,
        deterministic_noise=config.test_only_deterministic_noise,
        evaluated_on=config.evaluate_on,
        audit=audit,
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
