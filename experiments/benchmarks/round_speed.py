"""Measures how fast runtimes train a round, side by side.

  python -m experiments.benchmarks.round_speed --job=small_cnn_round \\
      --json=out.json

Each runtime has a process of its own; they take turns, round by round, so that
what else the machine does meets all of them alike. Figures are medians after a
warm-up. `native` and `native_tuned` are TFF's own FedAvg on its worker with
batched data sets; `ceiling` is what all cores would reach at the speed of the
fastest plain TensorFlow loop on one thread.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import psutil
import tqdm
from absl import flags

from experiments import entry, outputs
from tff_cnn.core.errors import FailedRunError, UsageError
from tff_cnn.core.registry import unknown_name

_JOBS = ("mnist_cnn_round", "small_cnn_round")
_RUNTIMES = ("in_process", "native", "native_tuned", "ceiling")
_WARM_UP_ROUNDS = 2

_JOB = flags.DEFINE_string("job", "small_cnn_round", f"One of {_JOBS}.")
_COMPARED = flags.DEFINE_list(
    "runtimes", list(_RUNTIMES), f"Some of {_RUNTIMES}."
)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds that count, >= 5.", 5)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_SERVE = flags.DEFINE_string("serve", None, "Used by the benchmark itself.")


class _Contender:
    """A process that runs one round whenever it is told to."""

    def __init__(self, name: str, job: str):
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "experiments.benchmarks.round_speed",
                f"--serve={name}",
                f"--job={job}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.peak_rss_mb = 0.0

    def one_round(self) -> float:
        """Runs a round and returns its seconds."""
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise FailedRunError(
                "a contender has ended; see its messages above."
            )
        self._measure_memory()
        return float(answer)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _measure_memory(self) -> None:
        root = psutil.Process(self._process.pid)
        family = [root, *root.children(recursive=True)]
        used = sum(process.memory_info().rss for process in family)
        self.peak_rss_mb = max(self.peak_rss_mb, used / 2**20)


def main(argv: list[str]) -> None:
    """Compares, or serves rounds to the process that compares."""
    del argv
    outputs.check(_JSON.value, "--json")
    if _JOB.value not in _JOBS:
        raise UsageError(unknown_name("job", _JOB.value, _JOBS))
    for name in [*_COMPARED.value, *([_SERVE.value] if _SERVE.value else [])]:
        if name not in _RUNTIMES:
            raise UsageError(unknown_name("runtime", name, _RUNTIMES))
    if not _COMPARED.value or len(set(_COMPARED.value)) < len(_COMPARED.value):
        raise UsageError(
            f"--runtimes={','.join(_COMPARED.value)} must name some of "
            f"{', '.join(_RUNTIMES)}, each once."
        )
    if _SERVE.value:
        _serve(_SERVE.value, _JOB.value)
        return
    figures = _compare(_JOB.value, _COMPARED.value, _ROUNDS.value)
    for name, figure in figures["runtimes"].items():
        print(
            f"{name:<14}{figure['examples_per_second']:>10,.0f} examples/s"
            f"{figure['clients_per_second']:>10,.1f} clients/s"
            f"{figure['peak_rss_mb']:>8,.0f} MB"
        )
    outputs.write_json(_JSON.value, figures)


def _compare(job: str, names: list[str], rounds: int) -> dict:
    contenders = {name: _Contender(name, job) for name in names}
    seconds = {name: [] for name in names}
    try:
        for number in tqdm.trange(_WARM_UP_ROUNDS + rounds, unit="round"):
            for name, contender in contenders.items():
                took = contender.one_round()
                if number >= _WARM_UP_ROUNDS:
                    seconds[name].append(took)
    finally:
        for contender in contenders.values():
            contender.close()
    from experiments.benchmarks.contenders import JOBS

    size = JOBS[job]
    medians = {name: statistics.median(seconds[name]) for name in names}
    return {
        "job": job,
        "cores": len(os.sched_getaffinity(0)),
        "rounds": rounds,
        "runtimes": {
            name: {
                "examples_per_second": size.num_examples / medians[name],
                "clients_per_second": size.num_clients / medians[name],
                "peak_rss_mb": contenders[name].peak_rss_mb,
                "seconds": seconds[name],
            }
            for name in names
        },
    }


def _serve(name: str, job: str) -> None:
    from experiments.benchmarks import contenders

    contenders.prepare(name)
    with contenders.CONTENDERS[name](contenders.JOBS[job]) as one_round:
        for _ in sys.stdin:
            started = time.perf_counter()
            one_round()
            took = time.perf_counter() - started
            # The ceiling says itself how long its round would take.
            took = getattr(one_round, "seconds", took)
            print(json.dumps(took), flush=True)


if __name__ == "__main__":
    entry.run(main)
