"""Which values of flags are right, and which go together.

Nothing here imports TensorFlow: mistakes are answered at once.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tff_cnn.algorithms import ALGORITHMS
from tff_cnn.algorithms.optimizers import OPTIMIZERS
from tff_cnn.core.errors import UsageError
from tff_cnn.core.registry import unknown_name
from tff_cnn.data import PARTITIONERS, SOURCES
from tff_cnn.models import MODELS
from tff_cnn.privacy import (
    CORRELATED,
    DISTRIBUTED,
    LOCAL_MECHANISMS,
    LOCAL_RANDOMIZERS,
    MECHANISMS,
    MIN_CANARIES,
)
from tff_cnn.runtime import RUNTIMES
from tff_cnn.selection import SAMPLERS

NO_DP = "none"
# How the flags of a stage begin -> the flag that switches it on.
SWITCHES = {
    "dp": "dp",
    "local_update": "local_randomizer",
    "local": "local_dp",
}
AUTO = "auto"
_COMPUTE_DTYPES = ("float32", "bfloat16", "float16")
_WEIGHTINGS = ("examples", "uniform")
_EVALUATION_SPLITS = ("test", "validation")


def check_names(values: Mapping[str, Any]) -> None:
    """Refuses names that no registry knows, listing those that it knows."""
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


def check_values(values: Mapping[str, Any]) -> None:
    """Refuses values out of range and combinations that make no sense.

    Args:
      values: Of all flags, resolved; None for those without effect.
    """
    _check_ranges(values)
    _check_privacy(values)
    _check_local_randomizer(values)
    _check_local_privacy(values)
    _check_record(values)


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
    if given in (None, AUTO):
        return
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(
            f"--clients_per_step={given} must be auto or an integer >= 1."
        )


def _check_privacy(values: Mapping[str, Any]) -> None:
    if values["dp"] == NO_DP:
        return
    _check_uniform(values, "dp", "one client's weight would be unbounded")
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
    _check_uniform(
        values,
        "local_randomizer",
        "a client's weight would tell the server how much data it has",
    )
    _check_noise(values, "local_update")
    names = ("local_update_clip", "local_update_delta")
    _check_positive(values, names, "local_update")


def _check_local_privacy(values: Mapping[str, Any]) -> None:
    if values["local_dp"] == NO_DP:
        return
    _check_uniform(
        values,
        "local_dp",
        "the weight would release how many examples were drawn",
    )
    if values["compute_dtype"] != "float32":
        raise UsageError(
            f"--compute_dtype={values['compute_dtype']} cannot be combined "
            "with --local_dp: norms of that precision bound nothing; use "
            "--compute_dtype=float32."
        )
    _check_noise(values, "local")
    _check_positive(values, ("local_clip", "local_delta"), "local")


def _check_record(values: Mapping[str, Any]) -> None:
    if values["record"] and values["evaluate_on"] != "test":
        raise UsageError(
            f"--record={values['record']} with --evaluate_on="
            f"{values['evaluate_on']}: a record is of the test split; use "
            "--evaluate_on=test."
        )


def _check_uniform(values: Mapping[str, Any], flag: str, reason: str) -> None:
    """Refuses weights of clients where `flag` is on, for this reason."""
    weighting = values["client_weighting"]
    if weighting != "uniform":
        raise UsageError(
            f"--client_weighting={weighting} cannot be combined with --{flag}: "
            f"{reason}; use --client_weighting=uniform."
        )


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
    switch = SWITCHES[prefix]
    for name in names:
        if values[name] is not None and not 0 < values[name] < float("inf"):
            raise UsageError(
                f"--{name}={values[name]:g} must be positive (for a run "
                f"without noise use --{switch}=none)."
            )
