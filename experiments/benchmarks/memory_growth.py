"""Watches the memory of a training run on digits over its rounds.

  python -m experiments.benchmarks.memory_growth --json=out.json

Prints resident memory, children included, after 30 rounds and after 300.
"""

import pathlib
import subprocess
import sys
import tempfile
import time

import psutil
from absl import flags

from experiments import entry, outputs
from tff_cnn.core.errors import FailedRunError, UsageError
from tff_cnn.runtime import RUNTIMES

_EARLY = flags.DEFINE_integer("early", 30, "Round to compare with.", 1)
_LATE = flags.DEFINE_integer("late", 300, "Last round.", 2)
_RUNTIME = flags.DEFINE_string("runtime", "in_process", "As of train.")
_JSON = flags.DEFINE_string("json", None, "File for the figures.")


def main(argv: list[str]) -> None:
    """Runs and prints; writes JSON where asked."""
    del argv
    outputs.check(_JSON.value, "--json")
    RUNTIMES.check(_RUNTIME.value)
    if _EARLY.value >= _LATE.value:
        raise UsageError(
            f"--early={_EARLY.value} must be below --late={_LATE.value}."
        )
    with tempfile.TemporaryDirectory() as folder:
        early, late = _watch(pathlib.Path(folder) / "run")
    growth = late / early - 1
    print(
        f"{early:,.0f} MB after round {_EARLY.value}, {late:,.0f} MB after "
        f"round {_LATE.value}: {growth:+.1%}"
    )
    outputs.write_json(
        _JSON.value, {"early_mb": early, "late_mb": late, "growth": growth}
    )


def _watch(run_dir: pathlib.Path) -> tuple[float, float]:
    """Memory in MB at the early round, and the last before the end."""
    command = [sys.executable, "-m", "experiments.train", "--dataset=digits"]
    command += ["--num_clients=100", "--clients_per_round=50"]
    command += [f"--rounds={_LATE.value}", f"--runtime={_RUNTIME.value}"]
    command += [f"--run_dir={run_dir}"]
    early = late = None
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            rows = _count_rows(run_dir / "metrics.jsonl")
            if early is None and rows >= _EARLY.value:
                early = _memory(root)
            if rows < _LATE.value:  # The export of the end is not a round.
                late = _memory(root) or late
            time.sleep(0.05)
    if process.returncode or early is None or late is None:
        raise FailedRunError("the run failed; see its messages above.")
    return early, late


def _count_rows(path: pathlib.Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _memory(root: psutil.Process) -> float | None:
    try:
        family = [root, *root.children(recursive=True)]
        return sum(p.memory_info().rss for p in family) / 2**20
    except psutil.NoSuchProcess:
        return None


if __name__ == "__main__":
    entry.run(main)
