"""From a configuration to the parts of a run."""

import dataclasses
import functools
import math
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tff_cnn import tasks
from tff_cnn.aggregators import DOWNLINKS, Mean, composition
from tff_cnn.aggregators.codecs import Codecs
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms import (
    ALGORITHMS,
    OPTIMIZERS,
    PublicData,
    fine_tuning,
)
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.config import RunConfig
from tff_cnn.core import chains, registry
from tff_cnn.core.errors import UsageError
from tff_cnn.data import (
    PARTITIONERS,
    SOURCES,
    augmentation,
    preprocessing,
    public_examples,
)
from tff_cnn.data.preprocessing import Batching
from tff_cnn.evaluation.federated import FederatedEvaluation
from tff_cnn.models import MODELS, class_weights, functional
from tff_cnn.privacy import EXAMPLE_MECHANISMS
from tff_cnn.privacy.ledger import Ledger, StagedLedger
from tff_cnn.selection import SAMPLERS, SPEEDS, dropout
from tff_cnn.selection.waiting import Waiting
from tff_cnn.training import (
    attacked,
    canaries,
    engines,
    learning_rates,
    ledgers,
    narrowing,
    round_fields,
    secure_rounds,
)
from tff_cnn.training.engine import Engine
from tff_cnn.training.narrowing import Narrow
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
      speed: Of its clients (`selection.SPEEDS`); None without a clock.
    """

    config: RunConfig
    task: tasks.Task
    batching: Batching
    sampler: Any
    ledger: StagedLedger | None
    process: Any
    secret: RunSecret
    branch: int
    speed: Any = None

    def engine(self, scratch: pathlib.Path | None = None) -> Engine:
        """What computes the rounds of this branch.

        Args:
          scratch: Folder for what clients keep, where memory is not to hold it.

        Raises:
          UsageError: It has no way to ask candidates for their losses.
        """
        entry = ALGORITHMS.entry_of(self.config.algorithm)
        found = secure_rounds.masked(engines.of(entry)(self, scratch), self)
        if self.narrow is not None and self.config.downlink is not None:
            sampling = SAMPLERS.entry_of(self.config.sampling).full_name
            raise UsageError(
                f"<sampling>={sampling} asks candidates for their losses, of "
                "the model as it is, and <downlink> sends them another: leave "
                "one of the two out."
            )
        if self.narrow is not None and not hasattr(found, "narrow"):
            sampling = SAMPLERS.entry_of(self.config.sampling).full_name
            raise UsageError(
                f"<sampling>={sampling} asks candidates for their losses "
                "before a round, which has no place in "
                f"<algorithm>={entry.full_name}: use another <sampling>."
            )
        return found

    def select_clients(self, number: int) -> Sequence[int]:
        """The clients that are asked to take part in a round, and can."""
        cohort = self.sampler.sample(number, self.cohort_seed)
        if not self.config.dropout_rate:
            return cohort
        return dropout.remaining(
            self.config.dropout_rate, self.config.seed, number, cohort
        )

    @functools.cached_property
    def narrow(self) -> Narrow | None:
        """Takes those who take part out of a round's candidates.

        None where the sampler draws who takes part.
        """
        choose = getattr(self.sampler, "narrowed", None)
        if choose is None:
            return None
        task = self.task
        measure = FederatedEvaluation(
            task.model, task.evaluation, task.prepare, task.objective
        )

        def losses(weights, cohort):
            return measure(task.clients, weights, cohort).loss

        return functools.partial(narrowing.by_losses, losses, choose)

    def sample_cohort(self, number: int) -> Sequence[int]:
        """The clients of a round: whoever is asked, and not left out of it.

        Of a sampler that asks candidates first, these: see `narrow`.

        Raises:
          FailedRunError: They are too many for a secure sum.
        """
        cohort = self.select_clients(number)
        config = self.config
        if config.deadline is not None or config.over_selection is not None:
            cohort = self.waiting.keep(number, cohort)
        if self.narrow is None:
            secure_rounds.check_cohort(config, number, cohort)
        return cohort

    @property
    def waiting(self) -> Waiting:
        """Whom the server waits for in a round."""
        config, enough = self.config, None
        if config.over_selection is not None:
            num_clients = self.sampler.num_clients
            enough = ledgers.needed_updates(config, num_clients)
        deadline = math.inf if config.deadline is None else config.deadline
        return Waiting(self.client_seconds, enough, deadline)

    def client_seconds(self, client: int, number: int) -> float:
        """Simulated seconds that a client takes which begins in a round."""
        examples = self.count_examples([client], number)
        return self.speed.seconds(client, number, examples)

    def simulated_seconds(self, number: int) -> float:
        """Of a synchronous round, as long as the server waits.

        Canaries come at once.
        """
        num_clients = self.sampler.num_clients
        selected = [c for c in self.select_clients(number) if c < num_clients]
        return self.waiting.duration(number, selected)

    def client_data(self, client: int, number: int) -> list:
        """What a client hands to the process in a round."""
        data = self.task.client_data(
            client, number, self.local_seed, self.batching
        )
        if self._local_steps is not None:
            steps = self._num_steps(client, number)
            data = [preprocessing.cut_steps(found, steps) for found in data]
        return [
            round_fields.with_values(self.config, found, number)
            for found in data
        ]

    def count_examples(self, cohort: Sequence[int], number: int) -> int:
        """Examples that a round's clients train on, in all their steps."""
        return sum(
            self.batching.num_trained(
                self.task.clients.num_examples(client),
                self._num_steps(client, number),
            )
            for client in cohort
        )

    def _num_steps(self, client: int, number: int) -> int:
        """Local steps that a client makes in a round."""
        size = self.task.clients.num_examples(client)
        steps = self.batching.num_steps(size)
        if self._local_steps is None:
            return steps
        return self._local_steps(
            self.config.algorithm, self.local_seed, number, client, steps
        )

    @functools.cached_property
    def _local_steps(self) -> Callable[..., int] | None:
        """The algorithm's rule of partial work (`ALGORITHMS`), if any."""
        entry = ALGORITHMS.entry_of(self.config.algorithm)
        name = entry.facts.get("local_steps")
        return name and registry.load(name)

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
    task = attacked.attacked(build_task(config), config)
    num_clients = len(task.clients)
    client_sizes = [task.clients.num_examples(c) for c in range(num_clients)]
    sampler = ledgers.build_sampler(config, num_clients, client_sizes)
    batching = Batching(
        config.client_epochs,
        config.batch_size,
        poisson=config.example_dp is not None,
    )
    task.check_memory(batching, sampler.expected_candidates)
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
    secure_rounds.check_sampler(config, sampler)
    speed = None
    if config.client_speed is not None:
        speed = SPEEDS.build(config.client_speed, num_clients, config.seed)
    process = _build_process(config, task, ledger, secret, branch)
    return Run(
        config,
        task,
        batching,
        sampler,
        ledger,
        process,
        secret,
        branch,
        speed,
    )


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

    local = _local_parts(config, task)
    gradients = None
    if config.example_dp:
        entry = EXAMPLE_MECHANISMS.entry_of(config.example_dp)
        build_gradients = registry.load(entry.facts["gradients"])
        gradients = build_gradients(local["model"], mechanism("example_dp"))
    aggregator = build_aggregator(
        config.aggregator,
        mechanism("dp"),
        secret.noise_seed(branch) if ledger else None,
        mechanism("local_randomizer"),
        deterministic=config.test_only_deterministic_noise,
    )
    attack = getattr(task, "attack", None)
    scheduled = {
        "client_optimizer": learning_rates.optimizer(config, "client"),
        "server_optimizer": learning_rates.server_optimizer(config),
        "element_spec": round_fields.with_specs(config, task.element_spec),
    }
    parts = Parts(
        **{**local, **scheduled},
        aggregator=aggregator,
        gradients=gradients,
        attack=attack and attack.update,
        feedback=_feedback(config),
        downlink=_downlink(config),
    )
    return ALGORITHMS.build(config.algorithm, parts)


def _downlink(config: RunConfig) -> Codecs | None:
    """What the model is encoded with on its way to clients, if it is."""
    if config.downlink is None:
        return None
    parts = chains.parts_of(config.downlink)
    return Codecs([DOWNLINKS.build(part) for part in parts])


def _feedback(config: RunConfig) -> Codecs | None:
    """What clients encode with that keep what is left out, if they do."""
    if not composition.has_feedback(config.aggregator):
        return None
    return composition.build_codecs(config.aggregator)


def _local_parts(config: RunConfig, task: tasks.Task) -> dict[str, Any]:
    """Those of `Parts` that have nothing to do with privacy."""
    return {
        "model": functional.from_keras(
            task.model, config.compute_dtype, task.objective
        ),
        "client_optimizer": OPTIMIZERS.build(config.client_optimizer),
        "server_optimizer": OPTIMIZERS.build(config.server_optimizer),
        "weighting": Weighting(config.client_weighting),
        "element_spec": task.element_spec,
        "preprocess": task.prepare,
        "augment": _augmentation(config, task),
        "num_clients": len(task.clients),
    }


def build_fine_tuning(run: Run) -> Callable:
    """A run's `algorithms.fine_tuning`: clients that train for themselves."""
    local = _local_parts(run.config, run.task)
    parts = Parts(**local, aggregator=build_aggregator(Mean()))
    return fine_tuning.build_fine_tuning(parts)


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
        holdout_clients=config.holdout_clients,
        public=public,
    )
