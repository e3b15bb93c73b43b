"""When a flag has an effect, and what becomes of one that has none."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.flag_ranges import SWITCHES
from tff_cnn.core.errors import UsageError
from tff_cnn.data import SOURCES
from tff_cnn.privacy import (
    DISTRIBUTED,
    LOCAL_MECHANISMS,
    LOCAL_RANDOMIZERS,
    MECHANISMS,
)
from tff_cnn.selection import SAMPLERS


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


def drop_ineffective(
    values: dict[str, Any], given: set[str], argv: Sequence[str]
) -> None:
    """Sets flags without effect to None; refuses those that were asked for.

    Args:
      values: Of all flags that the program has.
      given: Names of those that the command line or a flagfile has.
      argv: As typed: a flag of a flagfile that a typed choice makes
        meaningless is dropped with a notice, any other is a mistake.

    Raises:
      UsageError: A flag that would be ignored.
    """
    typed = _typed_names(argv)
    _drop_inapplicable(values, given, typed)
    for prefix in SWITCHES:
        _drop_overridden_noise(prefix, values, typed)


def _drop_inapplicable(
    values: dict[str, Any], given: set[str], typed: set[str]
) -> None:
    for name, applies in _CONDITIONS.items():
        if name not in values or applies.when(values):
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


def _typed_names(argv: Sequence[str]) -> set[str]:
    """Names of the flags on the command line itself, not in flagfiles."""
    names = set()
    for argument in argv[1:]:
        if argument.startswith("-"):
            name = argument.lstrip("-").partition("=")[0]
            names |= {name, name.removeprefix("no")}
    return names
