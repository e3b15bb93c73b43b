"""Compares what a round of each algorithm costs, per example trained on.

  python -m experiments.benchmarks.algorithm_speed --json=out.json

All have their default options and the same clients, batches and model. A round
of each is measured in turn, so that a slow minute of the machine is one of all;
figures are medians of rounds after a warm-up, and ratios are to FedAvg's. What
an algorithm does at the server is in its round.
"""

import dataclasses
import statistics
import time
from typing import Any

import numpy as np
import tqdm
from absl import flags

import tff_cnn
from experiments import entry, outputs
from tff_cnn import runtime
from tff_cnn.algorithms import ALGORITHMS


@dataclasses.dataclass(frozen=True)
class _Job:
    """Clients of equal size; pixels are random: their values cost nothing."""

    model: str
    side: int
    num_clients: int
    examples_per_client: int


_JOBS = {
    "small_cnn_round": _Job("digits_cnn", 8, 100, 20),
    "mnist_cnn_round": _Job("mcmahan_cnn", 28, 10, 600),
}
_BASE = "fedavg"

_NAMES = flags.DEFINE_list("algorithms", list(ALGORITHMS), "Which.")
_JOB = flags.DEFINE_enum("job", "small_cnn_round", list(_JOBS), "On what.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds that count, >= 1.", 1)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")


def main(argv: list[str]) -> None:
    """Prints a table, and writes it as JSON where asked."""
    del argv
    outputs.check(_JSON.value, "--json")
    for name in _NAMES.value:
        ALGORITHMS.check(name)
    names = list(dict.fromkeys([_BASE, *_NAMES.value]))
    in_process = tff_cnn.InProcess()
    runtime.prepare("in_process", **in_process.preparation())
    with runtime.use("in_process", **in_process.opening()):
        rows = _measure(names, _JOBS[_JOB.value], _ROUNDS.value)
    print("algorithm        ms/1,000 examples   ratio   examples a round")
    for row in rows:
        print(
            f"{row['algorithm']:<16}{row['ms_per_1000']:>18,.1f}"
            f"{row['ratio']:>8.2f}{row['examples']:>19,}"
        )
    outputs.write_json(_JSON.value, {"job": _JOB.value, "rows": rows})


def _measure(names: list[str], job: _Job, rounds: int) -> list[dict[str, Any]]:
    """Seconds per example of each, and the ratio to the first."""
    contenders = {name: _Contender(name, job) for name in names}
    with tqdm.tqdm(total=(rounds + 1) * len(names), unit="round") as bar:
        for number in range(1, rounds + 2):
            for contender in contenders.values():
                contender.take(number)
                bar.update()
    base = contenders[names[0]].per_example()
    return [
        {
            "algorithm": name,
            "ms_per_1000": 1e6 * contender.per_example(),
            "ratio": contender.per_example() / base,
            "examples": contender.examples[-1],
        }
        for name, contender in contenders.items()
    ]


class _Contender:
    """An engine, and how long its rounds have taken."""

    def __init__(self, name: str, job: _Job):
        # Imported here: TensorFlow takes seconds, mistakes should not.
        from tff_cnn.training import assembly

        run = assembly.build(_config(name, job))
        self._engine = run.engine()
        self._state = self._engine.initialize()
        self._count = run.count_examples
        self.seconds: list[float] = []
        self.examples: list[int] = []

    def take(self, number: int) -> None:
        """Computes a round; of the first only what it leaves counts."""
        work = self._engine.plan(number)
        started = time.perf_counter()
        result = self._engine.step(self._state, work)
        self.seconds.append(time.perf_counter() - started)
        self._state = result.state
        examples = result.row.get("examples")
        if examples is None:
            examples = self._count(work.cohort, number)
        self.examples.append(examples)

    def per_example(self) -> float:
        """Seconds, the median of all rounds but the first."""
        found = zip(self.seconds[1:], self.examples[1:], strict=True)
        return statistics.median(s / n for s, n in found)


def _config(name: str, job: _Job) -> tff_cnn.RunConfig:
    rng = np.random.default_rng(0)
    size = job.num_clients * job.examples_per_client
    images = rng.integers(0, 256, (size, job.side, job.side, 1))
    labels = rng.integers(0, 10, size)
    # Learning does not matter, but numbers must stay finite.
    return tff_cnn.RunConfig(
        dataset=tff_cnn.Arrays(
            images.astype(np.uint8),
            labels,
            test=(images[:10].astype(np.uint8), labels[:10]),
        ),
        model=job.model,
        algorithm=name,
        num_clients=job.num_clients,
        clients_per_round=job.num_clients,
        sampling="fixed_size",  # All of them; "full" has no place in fedbuff.
        client_optimizer=tff_cnn.Sgd(learning_rate=1e-3),
    ).resolved()


if __name__ == "__main__":
    entry.run(main)
