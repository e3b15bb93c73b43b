"""Which values of flags are right, and which go together.

Nothing here imports TensorFlow: mistakes are answered at once.
"""

from collections.abc import Mapping
from typing import Any

from experiments import flag_ranges
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
)
from tff_cnn.runtime import RUNTIMES, devices
from tff_cnn.selection import SAMPLERS

NO_DP = "none"
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
    flag_ranges.check(values)
    _check_cohort(values)
    _check_devices(values["devices"])
    _check_privacy(values)
    _check_local_randomizer(values)
    _check_local_privacy(values)
    _check_record(values)


def _check_cohort(values: Mapping[str, Any]) -> None:
    if values["clients_per_round"] > values["num_clients"]:
        raise UsageError(
            f"--clients_per_round={values['clients_per_round']} is more than "
            f"--num_clients={values['num_clients']}: use fewer per round or "
            "more clients."
        )


def _check_devices(given: str | None) -> None:
    if given not in (None, AUTO):
        devices.check_names(given.split(","))


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
    canaries = values["audit_canaries"]
    for flag in ("local_randomizer", "local_dp"):
        if canaries and values[flag] != NO_DP:
            raise UsageError(
                f"--audit_canaries={canaries} measures noise at the server, "
                f"but --{flag}={values[flag]} adds noise at the clients, which "
                f"the canaries would go through: use --{flag}=none."
            )
    _check_delta(values, "dp")


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
    _check_delta(values, "local_update")


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


def _check_delta(values: Mapping[str, Any], prefix: str) -> None:
    delta = values[f"{prefix}_delta"]
    if delta is not None and delta >= 1 / values["num_clients"]:
        raise UsageError(
            f"--{prefix}_delta={delta:g} must be below 1/num_clients = "
            f"{1 / values['num_clients']:.3g}."
        )
