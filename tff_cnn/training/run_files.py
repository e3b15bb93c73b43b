"""Reading a run's files, which anybody may have changed or damaged."""

import json
import pathlib
from types import NoneType
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.training.loop import Row

# Of every row, and what every summary has: without them a file is damaged.
_ROW = ("round", "cohort_size", "clients_excluded", "examples", "seconds")
_ROW_OR_NULL = ("train_loss", "test_accuracy", "test_loss", "epsilon", "delta")
_NUMBER = (int, float)
_SUMMARY = {
    "rounds": int,
    "test_accuracy": _NUMBER,
    "test_loss": (*_NUMBER, NoneType),
    "evaluated_on": str,
    "target_accuracy": (*_NUMBER, NoneType),
    "rounds_to_target": (int, NoneType),
    "epsilon": (*_NUMBER, NoneType),
    "delta": (*_NUMBER, NoneType),
    "noise_multiplier": (*_NUMBER, NoneType),
    "stopped_by_epsilon": bool,
    "is_private": bool,
    "seconds_per_round": _NUMBER,
    "examples_per_second": _NUMBER,
    "clients_excluded": int,
    "num_parameters": int,
    "weights_sha256": str,
    "privacy": dict,
    "privacy.guarantee": str,
    "privacy.stages": list,
}


def read_config(path: pathlib.Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
      UsageError: It is none, or damaged.
    """
    content = _read_json(path)
    if not isinstance(content.get("flags"), dict):
        raise UsageError(
            f"{path} names no flags of a run: it was changed by hand or is not "
            "a run's; use another <run_dir>."
        )
    return content


def read_summary(path: pathlib.Path) -> dict[str, Any]:
    """The content of summary.json.

    Raises:
      UsageError: It is none, or damaged.
    """
    content = _read_json(path)
    for name, kinds in _SUMMARY.items():
        where, _, key = name.rpartition(".")
        inside = content.get(where, {}) if where else content
        if key not in inside or not _is_a(inside[key], kinds):
            raise UsageError(
                f"{path} has no {name} that makes sense: it was changed by "
                "hand; delete it, and the run's command writes it anew."
            )
    return content


def read_rows(path: pathlib.Path) -> list[Row]:
    """Complete rows of metrics.jsonl; what a kill left of a line is dropped.

    Raises:
      UsageError: They are not those of rounds 1, 2, ...
    """
    rows: list[Row] = []
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            _check_row(row, number)
        except (ValueError, RecursionError) as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise UsageError(
                f"{path} is damaged in line {number} ({error}): restore it or "
                "use another <run_dir>."
            ) from error
        rows.append(row)
    return rows


def _check_row(row: Any, number: int) -> None:
    """Raises `ValueError` unless `row` may be that of round `number`."""
    if not isinstance(row, dict):
        raise ValueError("it is no object")
    if row.get("round") != number:
        raise ValueError(f"round {row.get('round')!r} instead of {number}")
    missing = [name for name in (*_ROW, *_ROW_OR_NULL) if name not in row]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    for name, value in row.items():
        is_null = value is None and name not in _ROW
        if not is_null and not _is_a(value, _NUMBER):
            raise ValueError(f"{name} is {value!r}")


def _is_a(value: Any, kinds: type | tuple[type, ...]) -> bool:
    """Whether a value from JSON is of a kind; truth is no number."""
    if isinstance(value, bool):
        return kinds is bool
    return isinstance(value, kinds)


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} cannot be read as JSON ({error}): it was changed by hand "
            "or is not a run's; use another <run_dir>."
        ) from error
    return content
