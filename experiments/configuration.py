"""From parsed flags to the frozen dataclass that everything else sees.

Nothing here imports TensorFlow: mistakes are answered at once.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from absl import flags

from tff_cnn.algorithms import ALGORITHMS
from tff_cnn.algorithms.optimizers import OPTIMIZERS
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import to_json
from tff_cnn.core.registry import unknown_name
from tff_cnn.data import PARTITIONERS, SOURCES
from tff_cnn.models import MODELS
from tff_cnn.privacy import (
    CORRELATED,
    DISTRIBUTED,
    FACTORIZATIONS,
    LOCAL_MECHANISMS,
    LOCAL_RANDOMIZERS,
    MECHANISMS,
    MIN_CANARIES,
)
from tff_cnn.runtime import RUNTIMES
from tff_cnn.selection import SAMPLERS

_DEFAULT_MODELS = {"digits": "digits_cnn", "mnist": "mcmahan_cnn"}
NO_DP = "none"
# How the flags of a stage begin -> the flag that switches it on.
_SWITCHES = {
    "dp": "dp",
    "local_update": "local_randomizer",
    "local": "local_dp",
}
_AUTO = "auto"
_COMPUTE_DTYPES = ("float32", "bfloat16", "float16")
_WEIGHTINGS = ("examples", "uniform")
_EVALUATION_SPLITS = ("test", "validation")

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

    def runtime_options(self) -> dict[str, Any]:
        """Arguments of `runtime.use`."""
        if self.runtime != "in_process":
            return {}
        size = self.clients_per_step
        return {
            "devices": self._device_names(),
            "threads": self.threads,
            "clients_per_step": None if size == _AUTO else int(size),
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
        return None if self.devices == _AUTO else self.devices.split(",")

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

    def material(self) -> dict[str, Any]:
        """The flags that a resumed run must share with the interrupted one."""
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
        content = to_json(sorted(self.material().items()))
        return hashlib.sha256(content.encode()).hexdigest()


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
    _check_names(values)
    values["model"] = values["model"] or _DEFAULT_MODELS[values["dataset"]]
    is_private = any(values[flag] != NO_DP for flag in _SWITCHES.values())
    values["sampling"] = values["sampling"] or _default_sampling(values["dp"])
    values["client_weighting"] = values["client_weighting"] or (
        "uniform" if is_private else "examples"
    )
    given = {name for name in values if flags.FLAGS[name].present}
    typed = _typed_names(argv)
    _drop_inapplicable(values, given, typed)
    for prefix in _SWITCHES:
        _drop_overridden_noise(prefix, values, typed)
    if values["sampling"] == "full":
        values["clients_per_round"] = values["num_clients"]
    _check_ranges(values)
    _check_privacy(values)
    _check_local_randomizer(values)
    _check_local_privacy(values)
    if values["record"] and values["evaluate_on"] != "test":
        raise UsageError(
            f"--record={values['record']} with --evaluate_on="
            f"{values['evaluate_on']}: a record is of the test split; use "
            "--evaluate_on=test."
        )
    run_dir = values["run_dir"]
    config = TrainConfig(**{**values, "run_dir": run_dir or ""})
    if not run_dir:
        config = dataclasses.replace(config, run_dir=_default_run_dir(config))
    return config


def _default_sampling(dp: str) -> str:
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
    content = f"{config.fingerprint()} {config.rounds}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return os.path.join("runs", "-".join([*name, digest]))


def _check_names(values: Mapping[str, Any]) -> None:
    registries = {
        "dataset": SOURCES,
        "partition": PARTITIONERS,
        "model": MODELS,
        "algorithm": ALGORITHMS,
        "client_optimizer": OPTIMIZERS,
        "server_optimizer": OPTIMIZERS,
        "sampling": SAMPLERS,
        "runtime": RUNTIMES,
    }
    for name, registry in registries.items():
        if values[name] is not None:
            registry.check(values[name])
    choices = {
        "dp": (NO_DP, *MECHANISMS),
        "local_randomizer": (NO_DP, *LOCAL_RANDOMIZERS),
        "local_dp": (NO_DP, *LOCAL_MECHANISMS),
        "client_weighting": _WEIGHTINGS,
        "evaluate_on": _EVALUATION_SPLITS,
        "compute_dtype": _COMPUTE_DTYPES,
    }
    for name, valid in choices.items():
        if values[name] is not None and values[name] not in valid:
            raise UsageError(unknown_name(f"--{name}", values[name], valid))


@dataclasses.dataclass(frozen=True)
class _Applies:
    """When a flag has an effect."""

    when: Callable[[Mapping[str, Any]], bool]
    needs: str  # What the user would have to choose.
    choice: str  # The flag that makes the choice.


def _with(flag: str, *choices: str) -> _Applies:
    return _Applies(
        lambda values: values[flag] in choices,
        " or ".join(f"--{flag}={choice}" for choice in choices),
        flag,
    )


_PRIVATE = _with("dp", *MECHANISMS)
_RANDOMIZED = _with("local_randomizer", *LOCAL_RANDOMIZERS)
_LOCALLY_PRIVATE = _with("local_dp", *LOCAL_MECHANISMS)
_NOISED = _Applies(
    lambda values: any(
        stage.when(values)
        for stage in (_PRIVATE, _RANDOMIZED, _LOCALLY_PRIVATE)
    ),
    f"{_PRIVATE.needs}, {_RANDOMIZED.needs} or {_LOCALLY_PRIVATE.needs}",
    "dp",
)
_DOWNLOADED = _with("dataset", *(s for s in SOURCES if s != "digits"))
_IN_PROCESS = _with("runtime", "in_process")
_CONDITIONS = {
    "clients_per_step": _IN_PROCESS,
    "devices": _IN_PROCESS,
    "threads": _IN_PROCESS,
    "intra_op_threads": _IN_PROCESS,
    "inter_op_threads": _IN_PROCESS,
    "data_dir": _DOWNLOADED,
    "download": _DOWNLOADED,
    "dirichlet_alpha": _with("partition", "dirichlet"),
    "shards_per_client": _with("partition", "shards"),
    "server_momentum": _with("server_optimizer", "sgd"),
    "clients_per_round": _with(
        "sampling", *(s for s in SAMPLERS if s != "full")
    ),
    "min_separation": _with("sampling", "shuffled_epochs"),
    "dp_clip_norm": _PRIVATE,
    "dp_noise_multiplier": _PRIVATE,
    "dp_epsilon": _PRIVATE,
    "dp_delta": _PRIVATE,
    "dp_metrics": _PRIVATE,
    "test_only_deterministic_noise": _NOISED,
    "local_update_clip": _RANDOMIZED,
    "local_update_noise_multiplier": _RANDOMIZED,
    "local_update_epsilon": _RANDOMIZED,
    "local_update_delta": _RANDOMIZED,
    "local_clip": _LOCALLY_PRIVATE,
    "local_noise_multiplier": _LOCALLY_PRIVATE,
    "local_epsilon": _LOCALLY_PRIVATE,
    "local_delta": _LOCALLY_PRIVATE,
    # Clipping by layer turns canaries' directions out of their distribution.
    "audit_canaries": _with(
        "dp", *(m for m in MECHANISMS if m != "per_layer_clip")
    ),
    "dp_target_quantile": _with("dp", "adaptive_clip"),
    "dp_clip_learning_rate": _with("dp", "adaptive_clip"),
    "dp_single_tree": _with("dp", "tree"),
    "dp_bands": _with("dp", "banded"),
    "dp_buffers": _with("dp", "blt"),
    "dp_bits": _with("dp", *DISTRIBUTED),
    "target_accuracy": _Applies(
        lambda values: values["eval_every"] > 0,
        "--eval_every > 0",
        "eval_every",
    ),
}


def _drop_inapplicable(
    values: dict[str, Any], given: set[str], typed: set[str]
) -> None:
    """Sets flags without effect to None; refuses those that were asked for."""
    for name, applies in _CONDITIONS.items():
        if applies.when(values):
            continue
        # `--download=false` asks for nothing.
        if name in given and values[name] is not False:
            overridden = name not in typed and applies.choice in typed
            if not overridden:
                raise UsageError(
                    f"--{name}={values[name]} would be ignored: it needs "
                    f"{applies.needs}, but --{applies.choice} is "
                    f"{values[applies.choice]!r}; remove one of the two."
                )
            print(
                f"note: --{name} of the flagfile has no effect with "
                f"--{applies.choice}={values[applies.choice]}."
            )
        values[name] = False if isinstance(values[name], bool) else None


def _drop_overridden_noise(
    prefix: str, values: dict[str, Any], typed: set[str]
) -> None:
    """A typed noise or epsilon replaces the other of the flagfile."""
    pair = (f"{prefix}_noise_multiplier", f"{prefix}_epsilon")
    chosen = [name for name in pair if name in typed]
    if len(chosen) == 1 and all(values[name] is not None for name in pair):
        (other,) = set(pair) - set(chosen)
        print(f"note: --{other} of the flagfile gives way to --{chosen[0]}.")
        values[other] = None


def _typed_names(argv: list[str]) -> set[str]:
    """Names of the flags on the command line itself, not in flagfiles."""
    names = set()
    for argument in argv[1:]:
        if argument.startswith("-"):
            name = argument.lstrip("-").partition("=")[0]
            names |= {name, name.removeprefix("no")}
    return names


def _check_ranges(values: Mapping[str, Any]) -> None:
    at_least = {
        "num_clients": 1,
        "client_epochs": 1,
        "batch_size": 1,
        "clients_per_round": 1,
        "rounds": 1,
        "eval_every": 0,
        "checkpoint_every": 1,
        "seed": 0,
        "threads": 1,
        "intra_op_threads": 1,
        "inter_op_threads": 1,
    }
    _check_clients_per_step(values["clients_per_step"])
    for name, lowest in at_least.items():
        if values[name] is not None and values[name] < lowest:
            raise UsageError(
                f"--{name}={values[name]} must be at least {lowest}."
            )
    for name in ("client_learning_rate", "server_learning_rate"):
        if not 0 < values[name] < float("inf"):
            raise UsageError(f"--{name}={values[name]} must be positive.")
    momentum = values["server_momentum"]
    if momentum is not None and not 0 <= momentum < 1:
        raise UsageError(f"--server_momentum={momentum} must be in [0, 1).")
    target = values["target_accuracy"]
    if target is not None and not 0 < target <= 1:
        raise UsageError(
            f"--target_accuracy={target} must be in (0, 1]: 0.99 is 99 %."
        )
    if values["clients_per_round"] > values["num_clients"]:
        raise UsageError(
            f"--clients_per_round={values['clients_per_round']} is more than "
            f"--num_clients={values['num_clients']}: use fewer per round or "
            "more clients."
        )


def _check_clients_per_step(given: str | None) -> None:
    if given in (None, _AUTO):
        return
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(
            f"--clients_per_step={given} must be auto or an integer >= 1."
        )


def _check_privacy(values: Mapping[str, Any]) -> None:
    if values["dp"] == NO_DP:
        return
    if values["client_weighting"] != "uniform":
        raise UsageError(
            f"--client_weighting={values['client_weighting']} cannot be "
            "combined with --dp: one client's weight would be unbounded; use "
            "--client_weighting=uniform."
        )
    if values["dp"] in CORRELATED:
        # Imported here: it takes a moment.
        from tff_cnn.privacy import participation

        participation.check_separated(values["sampling"], values["dp"])
    if values["dp"] in DISTRIBUTED:
        _check_distributed(values)
    _check_noise(values, "dp")
    _check_positive(values, ("dp_clip_norm", "dp_clip_learning_rate"), "dp")
    canaries = values["audit_canaries"]
    for flag in ("local_randomizer", "local_dp"):
        if canaries and values[flag] != NO_DP:
            raise UsageError(
                f"--audit_canaries={canaries} measures noise at the server, "
                f"but --{flag}={values[flag]} adds noise at the clients, which "
                f"the canaries would go through: use --{flag}=none."
            )
    if canaries and canaries < MIN_CANARIES:
        raise UsageError(
            f"--audit_canaries={canaries} must be at least {MIN_CANARIES}, or "
            "0 for none: so few have no distribution to be measured."
        )
    delta = values["dp_delta"]
    if delta is not None and not 0 < delta < 1 / values["num_clients"]:
        raise UsageError(
            f"--dp_delta={delta:g} must be positive and below 1/num_clients = "
            f"{1 / values['num_clients']:.3g}."
        )


def _check_distributed(values: Mapping[str, Any]) -> None:
    """Refuses what noise that clients share out among them cannot have."""
    # Imported here: it takes a moment.
    from tff_cnn.privacy import distributed

    distributed.check_fixed_cohort(values["sampling"], values["dp"])
    for name, reason in (
        (
            "test_only_deterministic_noise",
            "clients draw its noise themselves",
        ),
        ("dp_metrics", "no bound is known for the two together"),
        ("audit_canaries", "its cohort has a fixed size"),
    ):
        if values[name]:
            raise UsageError(
                f"--{name} does not go with --dp={values['dp']}: {reason}; use "
                "another --dp."
            )
    if values["local_randomizer"] != NO_DP:
        raise UsageError(
            f"--local_randomizer={values['local_randomizer']} does not go with "
            f"--dp={values['dp']}: the server sees no single update, and the "
            "noise of clients is counted once; use one of the two."
        )


def _check_local_randomizer(values: Mapping[str, Any]) -> None:
    if values["local_randomizer"] == NO_DP:
        return
    if values["client_weighting"] != "uniform":
        raise UsageError(
            f"--client_weighting={values['client_weighting']} cannot be "
            "combined with --local_randomizer: a client's weight would tell "
            "the server how much data it has; use --client_weighting=uniform."
        )
    _check_noise(values, "local_update")
    names = ("local_update_clip", "local_update_delta")
    _check_positive(values, names, "local_update")


def _check_local_privacy(values: Mapping[str, Any]) -> None:
    if values["local_dp"] == NO_DP:
        return
    if values["client_weighting"] != "uniform":
        raise UsageError(
            f"--client_weighting={values['client_weighting']} cannot be "
            "combined with --local_dp: the weight would release how many "
            "examples were drawn; use --client_weighting=uniform."
        )
    if values["compute_dtype"] != "float32":
        raise UsageError(
            f"--compute_dtype={values['compute_dtype']} cannot be combined "
            "with --local_dp: norms of that precision bound nothing; use "
            "--compute_dtype=float32."
        )
    _check_noise(values, "local")
    _check_positive(values, ("local_clip", "local_delta"), "local")


def _check_noise(values: Mapping[str, Any], prefix: str) -> None:
    noise, epsilon = f"{prefix}_noise_multiplier", f"{prefix}_epsilon"
    if values[noise] is None and values[epsilon] is None:
        raise UsageError(
            f"neither of --{noise} and --{epsilon} was given: give "
            "one, and the other follows from it; or both, and the run stops "
            "before it crosses epsilon."
        )
    _check_positive(values, (noise, epsilon), prefix)


def _check_positive(
    values: Mapping[str, Any], names: Iterable[str], prefix: str
) -> None:
    switch = _SWITCHES[prefix]
    for name in names:
        if values[name] is not None and not 0 < values[name] < float("inf"):
            raise UsageError(
                f"--{name}={values[name]:g} must be positive (for a run "
                f"without noise use --{switch}=none)."
            )
