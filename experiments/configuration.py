"""From parsed flags to the frozen dataclass that everything else sees.

Nothing here imports TensorFlow: mistakes are answered at once.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from typing import Any

from absl import flags

from experiments import flag_checks, flag_conditions
from experiments.flag_checks import AUTO, NO_DP
from experiments.flag_ranges import SWITCHES
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import to_json
from tff_cnn.privacy import CORRELATED, DISTRIBUTED, FACTORIZATIONS

_DEFAULT_MODELS = {"digits": "digits_cnn", "mnist": "mcmahan_cnn"}

# Do not change what is computed, only where data and results are, or how far
# the run goes.
_IMMATERIAL = (
    "run_dir",
    "resume",
    "record",
    "data_dir",
    "download",
    "checkpoint_every",
    "rounds",
    # How the work is divided changes rounding only.
    "clients_per_step",
    "devices",
    "threads",
    "intra_op_threads",
    "inter_op_threads",
)

# The flags that fingerprints were made of in format 1.
_FORMAT_1 = frozenset(
    (
        "dataset",
        "partition",
        "num_clients",
        "dirichlet_alpha",
        "shards_per_client",
        "evaluate_on",
        "model",
        "algorithm",
        "client_optimizer",
        "client_learning_rate",
        "client_epochs",
        "batch_size",
        "client_weighting",
        "server_optimizer",
        "server_learning_rate",
        "server_momentum",
        "sampling",
        "clients_per_round",
        "min_separation",
        "rounds",
        "eval_every",
        "target_accuracy",
        "dp",
        "dp_clip_norm",
        "dp_noise_multiplier",
        "dp_epsilon",
        "dp_delta",
        "dp_target_quantile",
        "dp_clip_learning_rate",
        "dp_metrics",
        "dp_single_tree",
        "dp_bands",
        "dp_buffers",
        "dp_bits",
        "local_randomizer",
        "local_update_clip",
        "local_update_noise_multiplier",
        "local_update_epsilon",
        "local_update_delta",
        "local_dp",
        "local_clip",
        "local_noise_multiplier",
        "local_epsilon",
        "local_delta",
        "audit_canaries",
        "test_only_deterministic_noise",
        "runtime",
        "compute_dtype",
        "seed",
    )
)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Every flag of a training run, as resolved; see `--help` for meanings.

    None means: does not apply to this configuration. The exceptions are the
    deltas and noise multipliers, which depend on the data and are resolved
    when the run is assembled.
    """

    dataset: str
    data_dir: str | None
    download: bool
    partition: str
    num_clients: int
    dirichlet_alpha: float | None
    shards_per_client: int | None
    evaluate_on: str
    model: str
    algorithm: str
    client_optimizer: str
    client_learning_rate: float
    client_epochs: int
    batch_size: int
    client_weighting: str
    server_optimizer: str
    server_learning_rate: float
    server_momentum: float | None
    sampling: str
    clients_per_round: int
    min_separation: int | None
    rounds: int
    eval_every: int
    target_accuracy: float | None
    dp: str
    dp_clip_norm: float | None
    dp_noise_multiplier: float | None
    dp_epsilon: float | None
    dp_delta: float | None
    dp_target_quantile: float | None
    dp_clip_learning_rate: float | None
    dp_metrics: bool
    dp_single_tree: bool
    dp_bands: int | None
    dp_buffers: int | None
    dp_bits: int | None
    local_randomizer: str
    local_update_clip: float | None
    local_update_noise_multiplier: float | None
    local_update_epsilon: float | None
    local_update_delta: float | None
    local_dp: str
    local_clip: float | None
    local_noise_multiplier: float | None
    local_epsilon: float | None
    local_delta: float | None
    audit_canaries: int | None
    test_only_deterministic_noise: bool
    runtime: str
    clients_per_step: str | None
    devices: str | None
    threads: int | None
    intra_op_threads: int | None
    inter_op_threads: int | None
    compute_dtype: str
    seed: int
    run_dir: str
    resume: bool
    record: str | None
    checkpoint_every: int

    @property
    def is_private(self) -> bool:
        """Whether the aggregation adds noise."""
        return self.dp != NO_DP

    @property
    def randomizes_updates(self) -> bool:
        """Whether clients add noise to their whole updates."""
        return self.local_randomizer != NO_DP

    @property
    def is_locally_private(self) -> bool:
        """Whether clients' training adds noise."""
        return self.local_dp != NO_DP

    @property
    def has_noise(self) -> bool:
        """Whether anything does."""
        return (
            self.is_private or self.randomizes_updates
        ) or self.is_locally_private

    def runtime_options(self) -> dict[str, Any]:
        """Arguments of `runtime.use`."""
        if self.runtime != "in_process":
            return {}
        size = self.clients_per_step
        return {
            "devices": self._device_names(),
            "threads": self.threads,
            "clients_per_step": None if size == AUTO else int(size),
        }

    def preparation(self) -> dict[str, Any]:
        """Arguments of `runtime.prepare`."""
        if self.runtime != "in_process":
            return {}
        return {
            "devices": self._device_names(),
            "intra_op_threads": self.intra_op_threads,
            "inter_op_threads": self.inter_op_threads,
        }

    def _device_names(self) -> list[str] | None:
        return None if self.devices == AUTO else self.devices.split(",")

    def is_unresolved(self, name: str) -> bool:
        """Whether flag `name` still waits for the data to be resolved."""
        waits = {
            "dp_delta": self.is_private,
            "dp_noise_multiplier": self.is_private,
            "local_update_delta": self.randomizes_updates,
            "local_update_noise_multiplier": self.randomizes_updates,
            "local_delta": self.is_locally_private,
            "local_noise_multiplier": self.is_locally_private,
        }
        return waits.get(name, False) and getattr(self, name) is None

    def resolved_as(self, before: Mapping[str, Any]) -> "TrainConfig":
        """With what waits for the data as it was resolved when a run began.

        Found anew, noise may have another last digit, by another version of an
        accountant or on another machine.

        Args:
          before: The flags in the run's config.json.

        Raises:
          UsageError: They are not there, or no positive numbers.
        """
        names = [f.name for f in dataclasses.fields(self)]
        found = {n: before.get(n) for n in filter(self.is_unresolved, names)}
        for name, value in found.items():
            is_number = isinstance(value, int | float) and value is not True
            if not (is_number and 0 < value < float("inf")):
                raise UsageError(
                    f"config.json has --{name}={value!r}, which no run has: it "
                    "was changed by hand; restore it or use another --run_dir."
                )
        return dataclasses.replace(self, **found)

    def material(self) -> dict[str, Any]:
        """The flags that a resumed run must share with the interrupted one.

        Those that do not apply, or are as if they did not, are left out: a
        flag that is new to the program changes no run from before.
        """
        return {
            name: value
            for name, value in self.all_material().items()
            if not is_neutral(value)
        }

    def all_material(self) -> dict[str, Any]:
        """The same with those that are left out."""
        values = dataclasses.asdict(self)
        for name in _IMMATERIAL:
            if name != "rounds" or not self._rounds_matter:
                del values[name]
        return values

    @property
    def _rounds_matter(self) -> bool:
        """Whether the noise depends on how far the run goes."""
        return (
            self.dp_epsilon is not None
            or self.local_update_epsilon is not None
            or self.local_epsilon is not None
            or self.dp in FACTORIZATIONS
        )

    def fingerprint(self) -> str:
        """Digest of `material()`; checkpoints carry it."""
        return _digest({"format": 2, **self.material()})

    def fingerprint_of_format_1(self) -> str:
        """What checkpoints carried when there were just the flags of then."""
        values = self.all_material()
        return _digest({n: values[n] for n in _FORMAT_1 if n in values})


def is_neutral(value: Any) -> bool:
    """Whether a flag of this value is as if it were not there.

    Of no flag do two of these values mean different things.
    """
    return value is None or value == 0 or value == NO_DP


def _digest(values: Mapping[str, Any]) -> str:
    content = to_json(sorted(values.items()))
    return hashlib.sha256(content.encode()).hexdigest()


def changes(config: TrainConfig, before: Mapping[str, Any]) -> list[str]:
    """The flags by which `config` is of another run than `before`, in words.

    Args:
      config: As asked for.
      before: The flags in a run's config.json.
    """
    return [
        f"--{name}={value} (was {before.get(name)})"
        for name, value in config.all_material().items()
        if before.get(name) != value
        and not (is_neutral(value) and is_neutral(before.get(name)))
        and not config.is_unresolved(name)
    ]


def config_from_flags(argv: list[str]) -> TrainConfig:
    """Checks the parsed flags and resolves them.

    Args:
      argv: As typed, before flagfiles were expanded: a flag in a flagfile
        that a choice on the command line makes meaningless is dropped with a
        notice, whereas any other flag that would be ignored is a mistake.

    Raises:
      UsageError: A flag that is wrong, missing, or without effect.
    """
    values = {
        field.name: flags.FLAGS[field.name].value
        for field in dataclasses.fields(TrainConfig)
    }
    flag_checks.check_names(values)
    values["model"] = values["model"] or _DEFAULT_MODELS[values["dataset"]]
    is_private = any(values[flag] != NO_DP for flag in SWITCHES.values())
    values["sampling"] = values["sampling"] or default_sampling(values["dp"])
    values["client_weighting"] = values["client_weighting"] or (
        "uniform" if is_private else "examples"
    )
    given = {name for name in values if flags.FLAGS[name].present}
    flag_conditions.drop_ineffective(values, given, argv)
    if values["sampling"] == "full":
        values["clients_per_round"] = values["num_clients"]
    flag_checks.check_values(values)
    run_dir = values["run_dir"]
    config = TrainConfig(**{**values, "run_dir": run_dir or ""})
    if not run_dir:
        config = dataclasses.replace(config, run_dir=_default_run_dir(config))
    return config


def default_sampling(dp: str) -> str:
    """The sampler that fits a mechanism best, or training without one."""
    if dp == NO_DP or dp in DISTRIBUTED:
        return "fixed_size"
    return "shuffled_epochs" if dp in CORRELATED else "poisson"


def _default_run_dir(config: TrainConfig) -> str:
    name = [config.dataset, config.model, config.algorithm]
    if config.is_private:
        name.append(config.dp)
    if config.randomizes_updates:
        name.append(f"local_{config.local_randomizer}")
    if config.is_locally_private:
        name.append(config.local_dp)
    # Of format 1, so that a command of then finds its run.
    fingerprint = config.fingerprint_of_format_1()
    extra = {n: v for n, v in config.material().items() if n not in _FORMAT_1}
    content = f"{fingerprint} {config.rounds}"
    if extra:
        content += _digest(extra)
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return os.path.join("runs", "-".join([*name, digest]))
