"""Between which values the flags that are numbers may lie.

The limits are those of what a number does: float32 must hold what is computed
of it, and memory and a lifetime what is made of it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.data import LARGEST_DIRICHLET_ALPHA, SMALLEST_DIRICHLET_ALPHA
from tff_cnn.privacy import MIN_CANARIES

# How the flags of a stage begin -> the flag that switches it on.
SWITCHES = {
    "dp": "dp",
    "local_update": "local_randomizer",
    "local": "local_dp",
}
_INT64 = 2**63 - 1
_INT32 = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Range:
    """Values from `lowest` to `highest`.

    Attributes:
      lowest: The least value, or a limit that is not reached.
      highest: Likewise.
      expected: The rule, for the message.
      is_open: Neither limit is a value itself.
    """

    lowest: float
    highest: float
    expected: str
    is_open: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` lies in it; NaN never does."""
        if self.is_open:
            return self.lowest < value < self.highest
        return self.lowest <= value <= self.highest


def _integer(lowest: int, highest: int = _INT64) -> Range:
    limits = f"at least {lowest} and at most {highest:,}"
    return Range(lowest, highest, limits)


def _positive(lowest: float, highest: float) -> Range:
    return Range(lowest, highest, f"positive: from {lowest:g} to {highest:g}")


_COUNT = _integer(1)
_THREADS = _integer(1, 1024)
_RATE = _positive(1e-30, 1e30)
# Denormal numbers have no precise logarithm.
_DELTA = Range(1e-100, 1, "positive and below 1", is_open=True)


def _privacy(prefix: str, clip: str) -> dict[str, Range]:
    """Of the flags that all stages with noise have."""

    def positive(lowest: float, highest: float) -> Range:
        found = _positive(lowest, highest)
        hint = f" (for a run without noise use --{SWITCHES[prefix]}=none)"
        return dataclasses.replace(found, expected=found.expected + hint)

    return {
        f"{prefix}_{clip}": positive(1e-9, 1e9),
        # Below, accounting takes for ever to find an epsilon that means
        # nothing.
        f"{prefix}_noise_multiplier": positive(1e-2, 1e6),
        f"{prefix}_epsilon": positive(1e-6, 1e6),
        f"{prefix}_delta": _DELTA,
    }


RANGES = {
    "num_clients": _integer(1, 10**9),
    "dirichlet_alpha": _positive(
        SMALLEST_DIRICHLET_ALPHA, LARGEST_DIRICHLET_ALPHA
    ),
    "shards_per_client": _integer(1, _INT32),
    "client_learning_rate": _RATE,
    "server_learning_rate": _RATE,
    "client_epochs": _integer(1, _INT32),
    "batch_size": _integer(1, _INT32),
    "server_momentum": Range(0, 1 - 1e-9, "in [0, 1)"),
    "target_accuracy": Range(1e-9, 1, "in (0, 1]: 0.99 is 99 %"),
    "clients_per_round": _COUNT,
    "min_separation": _COUNT,
    "rounds": _integer(1, 10**6),
    "eval_every": _integer(0),
    "checkpoint_every": _COUNT,
    **_privacy("dp", "clip_norm"),
    "dp_target_quantile": Range(0, 1, "between 0 and 1", is_open=True),
    # The clip changes by a factor of up to e^10 in a round.
    "dp_clip_learning_rate": _positive(1e-9, 10),
    "dp_bands": _COUNT,
    "dp_buffers": _integer(1, 10),
    "dp_bits": _integer(1, 22),
    **_privacy("local_update", "clip"),
    **_privacy("local", "clip"),
    "threads": _THREADS,
    "intra_op_threads": _THREADS,
    "inter_op_threads": _THREADS,
    "seed": _integer(0),
    "num_parameters": _integer(1, 10**12),
}
_CANARIES = _integer(MIN_CANARIES, 10**6)


def check(values: Mapping[str, Any]) -> None:
    """Refuses numbers out of range.

    Args:
      values: Of flags; None for those without effect.

    Raises:
      UsageError: The first of them.
    """
    for name, value in values.items():
        if name in RANGES and value is not None:
            _check(name, value, RANGES[name])
    if values.get("audit_canaries"):
        _check("audit_canaries", values["audit_canaries"], _CANARIES)
    check_integer("clients_per_step", values.get("clients_per_step"), "auto")


def check_integer(name: str, given: str | None, other: str) -> None:
    """Refuses text that is neither `other` nor an integer from 1 on."""
    if given in (None, other):
        return
    # Not `int` of whatever length: Python refuses more than 4,300 digits.
    is_number = given.isascii() and given.isdecimal() and len(given) < 10
    if not is_number or int(given) < 1:
        raise UsageError(
            f"--{name}={given} must be {other} or an integer >= 1 (of at most "
            "nine digits)."
        )


def _check(name: str, value: float, allowed: Range) -> None:
    if not allowed.holds(value):
        raise UsageError(f"--{name}={value} must be {allowed.expected}.")
