"""From a configuration to the parts of a run."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from tff_cnn import tasks
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms import ALGORITHMS, OPTIMIZERS, PublicData
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.config import RunConfig
from tff_cnn.core import registry
from tff_cnn.data import (
    PARTITIONERS,
    SOURCES,
    augmentation,
    public_examples,
)
from tff_cnn.data.preprocessing import Batching
from tff_cnn.models import MODELS, class_weights, functional
from tff_cnn.privacy import EXAMPLE_MECHANISMS
from tff_cnn.privacy.ledger import Ledger, StagedLedger
from tff_cnn.training import canaries, ledgers
from tff_cnn.training.engine import Engine
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
      process: What the algorithm's builder has returned.
      secret: What cohorts and noise follow from.
      branch: Of the run's history: see `training.releases`.
    """

    config: RunConfig
    task: tasks.Task
    batching: Batching
    sampler: Any
    ledger: StagedLedger | None
    process: Any
    secret: RunSecret
    branch: int

    def engine(self, scratch: pathlib.Path | None = None) -> Engine:
        """What computes the rounds of this branch.

        Args:
          scratch: Folder for what clients keep, where memory is not to hold it.
        """
        entry = ALGORITHMS.entry_of(self.config.algorithm)
        name = entry.facts.get("engine", "tff_cnn.training.engines:build")
        return registry.load(name)(self, scratch)

    def sample_cohort(self, number: int) -> Sequence[int]:
        """The clients of a round."""
        return self.sampler.sample(number, self.cohort_seed)

    def client_data(self, client: int, number: int) -> list:
        """What a client hands to the process in a round."""
        return self.task.client_data(
            client, number, self.local_seed, self.batching
        )

    @property
    def central(self) -> Ledger | None:
        """The ledger of the aggregation, if that has noise."""
        return self.ledger and self.ledger.of("dp")

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
        if self.config.example_dp:
            return self.secret.root("local training", self.branch)
        return self.config.seed

    @property
    def metric_seed(self) -> int:
        """Root of the noise on the cohort's accuracy."""
        return self.secret.root("metrics", self.branch)

    @property
    def is_repeatable(self) -> bool:
        """Whether a round computed again gives the same bits."""
        stages = self.ledger.stages if self.ledger else []
        return self.config.test_only_deterministic_noise or all(
            stage.mechanism.is_repeatable for stage in stages
        )


def build(
    config: RunConfig, secret: RunSecret | None = None, branch: int = 1
) -> Run:
    """Builds all parts of a run.

    Args:
      config: Resolved.
      secret: That of the run's folder; None draws a new one.
      branch: See `Run`.

    Raises:
      UsageError: Data that is not there, and parts that do not fit together.
    """
    task = build_task(config)
    num_clients = len(task.clients)
    sampler = ledgers.build_sampler(config, num_clients)
    batching = Batching(
        config.client_epochs,
        config.batch_size,
        poisson=config.example_dp is not None,
    )
    task.check_memory(batching, sampler.expected_cohort)
    client_sizes = [task.clients.num_examples(c) for c in range(num_clients)]
    ledger = ledgers.build_ledgers(
        config, sampler, client_sizes, task.num_parameters
    )
    for stage in ledger.stages if ledger else ():
        config = config.with_options(
            stage.mechanism.choice,
            noise_multiplier=stage.mechanism.noise_multiplier,
            delta=stage.delta,
        )
    secret = secret or new_secret(config)
    num_canaries = getattr(config.dp, "audit_canaries", 0)
    if num_canaries:
        task, sampler = canaries.audited(
            task, sampler, num_canaries, config.dp.clip_norm, config.seed
        )
    process = _build_process(config, task, ledger, secret, branch)
    return Run(config, task, batching, sampler, ledger, process, secret, branch)


def _build_process(
    config: RunConfig,
    task: tasks.Task,
    ledger: StagedLedger | None,
    secret: RunSecret,
    branch: int,
) -> Any:
    def mechanism(choice):
        stage = ledger and ledger.of(choice)
        return stage and stage.mechanism

    model = functional.from_keras(
        task.model, config.compute_dtype, task.objective
    )
    gradients = None
    if config.example_dp:
        entry = EXAMPLE_MECHANISMS.entry_of(config.example_dp)
        build_gradients = registry.load(entry.facts["gradients"])
        gradients = build_gradients(model, mechanism("example_dp"))
    aggregator = build_aggregator(
        config.aggregator,
        mechanism("dp"),
        secret.noise_seed(branch) if ledger else None,
        mechanism("local_randomizer"),
        deterministic=config.test_only_deterministic_noise,
    )
    parts = Parts(
        model=model,
        client_optimizer=OPTIMIZERS.build(config.client_optimizer),
        server_optimizer=OPTIMIZERS.build(config.server_optimizer),
        aggregator=aggregator,
        weighting=Weighting(config.client_weighting),
        element_spec=task.element_spec,
        preprocess=task.prepare,
        augment=_augmentation(config, task),
        num_clients=len(task.clients),
        gradients=gradients,
    )
    return ALGORITHMS.build(config.algorithm, parts)


def _augmentation(
    config: RunConfig, task: tasks.Task
) -> augmentation.Augmentation | None:
    names = (f.name for f in dataclasses.fields(augmentation.Augmentation))
    options = {name: getattr(config, name) for name in names}
    return augmentation.build(
        augmentation.Augmentation(**options), task.evaluation.image_shape
    )


def new_secret(config: RunConfig) -> RunSecret:
    """A secret for a run that begins; known where its noise is to be known."""
    if config.test_only_deterministic_noise:
        return RunSecret.deterministic(config.seed)
    return RunSecret.new()


def build_task(config: RunConfig) -> tasks.Task:
    """Data and model of a configuration.

    Raises:
      UsageError: Data that is not there, and parts that do not fit together.
    """
    source = SOURCES.build(config.dataset)
    for note in source.notes:
        print(f"note: {note}.", file=sys.stderr)
    public = None
    if isinstance(config.algorithm, PublicData):
        source, public = public_examples.split(
            source, config.algorithm, config.dataset, config.seed
        )
    return tasks.build_task(
        source,
        PARTITIONERS.builder(config.partition),
        config.num_clients,
        MODELS.builder(config.model),
        config.seed,
        use_validation=config.evaluate_on == "validation",
        client_holdout=config.client_holdout,
        cache_bytes=config.data_cache_mb * 2**20,
        class_weights=class_weights.parsed(config.class_weights),
        balance_classes=config.balance_classes,
        trained=config.trainable,
        standardize=config.standardize,
        to_rgb=config.to_rgb,
        public=public,
    )
