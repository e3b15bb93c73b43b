"""From a configuration to the parts of a run."""

import dataclasses
from typing import Any

import tensorflow_federated as tff

from experiments import ledgers
from experiments.configuration import TrainConfig
from tff_cnn import runtime, tasks
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms import ALGORITHMS, dp_sgd
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.algorithms.optimizers import OPTIMIZERS
from tff_cnn.data import SOURCES
from tff_cnn.data.preprocessing import Batching
from tff_cnn.models import functional
from tff_cnn.privacy import DISTRIBUTED
from tff_cnn.privacy.ledger import Ledger, StagedLedger
from tff_cnn.training import canaries
from tff_cnn.training.engines.federated import Federated
from tff_cnn.training.run_secret import RunSecret


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
      secret: What cohorts and noise follow from.
      branch: Of the run's history: see `training.releases`.
    """

    config: TrainConfig
    task: tasks.Task
    batching: Batching
    sampler: Any
    ledger: StagedLedger | None
    process: tff.learning.templates.LearningProcess
    secret: RunSecret
    branch: int

    @property
    def engine(self) -> Federated:
        """What computes the rounds of this branch."""
        cohort_seed, local_seed = self.cohort_seed, self.local_seed
        return Federated(
            self.process,
            lambda number: self.sampler.sample(number, cohort_seed),
            lambda client, number: self.task.client_data(
                client, number, local_seed, self.batching
            ),
        )

    @property
    def central(self) -> Ledger | None:
        """The ledger of the aggregation, if that has noise."""
        return self.ledger and self.ledger.stage("dp")

    @property
    def cohort_seed(self) -> int:
        """Root of the cohorts; secret where the accounting is amplified."""
        if self.is_amplified:
            return self.secret.root("cohorts", self.branch)
        return self.config.seed

    @property
    def is_amplified(self) -> bool:
        """Whether epsilon assumes that nobody knows the cohorts."""
        central = self.central
        return bool(central) and central.mechanism.is_amplified

    @property
    def local_seed(self) -> int:
        """Root of what clients draw; secret where that protects them."""
        if self.config.is_locally_private:
            return self.secret.root("local training", self.branch)
        return self.config.seed

    @property
    def metric_seed(self) -> int:
        """Root of the noise on `--dp_metrics`."""
        return self.secret.root("metrics", self.branch)

    @property
    def is_repeatable(self) -> bool:
        """Whether a round computed again gives the same bits.

        Not where clients draw noise in the aggregation, which does not know
        one client from another: TensorFlow's own generator tells them apart.
        """
        config = self.config
        return config.test_only_deterministic_noise or not (
            config.dp in DISTRIBUTED or config.randomizes_updates
        )


def build(
    config: TrainConfig, secret: RunSecret | None = None, branch: int = 1
) -> Run:
    """Builds all parts of a run.

    Args:
      config: From `configuration.config_from_flags`.
      secret: That of the run's folder; None draws a new one.
      branch: See `Run`.

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
    secret = secret or new_secret(config)
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
    parts = Parts(
        model=model,
        client_optimizer=OPTIMIZERS.get(config.client_optimizer)(
            config.client_learning_rate
        ),
        server_optimizer=optimizer(config.server_learning_rate, **momentum),
        aggregator=build_aggregator(
            central and central.mechanism,
            secret.noise_seed(branch) if ledger else None,
            randomizer and randomizer.mechanism,
            deterministic=config.test_only_deterministic_noise,
        ),
        weighting=Weighting(config.client_weighting),
        element_spec=task.element_spec,
        preprocess=task.preprocess,
        gradients=gradients,
    )
    process = ALGORITHMS.get(config.algorithm)(parts)
    return Run(config, task, batching, sampler, ledger, process, secret, branch)


def new_secret(config: TrainConfig) -> RunSecret:
    """A secret for a run that begins; known where its noise is to be known."""
    if config.test_only_deterministic_noise:
        return RunSecret.deterministic(config.seed)
    return RunSecret.new()


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
