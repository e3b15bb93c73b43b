"""Measures throughput over cohort sizes and client sizes.

  python -m experiments.benchmarks.scaling --json=out.json

The small CNN of `round_speed` on the in-process runtime: cohorts of 1 to 1,000
clients with 20 examples each, and cohorts of 10 clients with 1 to 10,000
examples each. Figures are medians of rounds after a warm-up.
"""

import dataclasses
import statistics
import time

import tqdm
from absl import flags

from experiments import entry, outputs
from tff_cnn import runtime

_COHORTS = (1, 3, 10, 30, 100, 300, 1000)
_EXAMPLES = (1, 10, 100, 1000, 10_000)

_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds that count, >= 1.", 1)
_LARGEST = flags.DEFINE_integer(
    "largest", 10_000, "Leave out larger cohorts and clients.", 1
)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")


def main(argv: list[str]) -> None:
    """Prints a table, and writes it as JSON where asked."""
    del argv
    outputs.check(_JSON.value, "--json")
    runtime.prepare("in_process")
    sizes = [(cohort, 20) for cohort in _COHORTS if cohort <= _LARGEST.value]
    sizes += [(10, count) for count in _EXAMPLES if count <= _LARGEST.value]
    rows = [_measure(*size) for size in tqdm.tqdm(sizes, unit="size")]
    print("clients  examples each  clients/step  examples/s  clients/s")
    for row in rows:
        print(
            f"{row['clients']:>7,}{row['examples_per_client']:>15,}"
            f"{row['clients_per_step']:>14,}"
            f"{row['examples_per_second']:>12,.0f}"
            f"{row['clients_per_second']:>11,.1f}"
        )
    outputs.write_json(_JSON.value, {"rows": rows})


def _measure(num_clients: int, examples_per_client: int) -> dict[str, float]:
    from experiments.benchmarks import contenders

    job = dataclasses.replace(
        contenders.JOBS["small_cnn_round"],
        num_clients=num_clients,
        examples_per_client=examples_per_client,
    )
    with contenders.ours(job, "in_process") as one_round:
        seconds = []
        for _ in range(1 + _ROUNDS.value):
            started = time.perf_counter()
            one_round()
            seconds.append(time.perf_counter() - started)
        clients_per_step = runtime.current().schedule.last_size
    median = statistics.median(seconds[1:])
    return {
        "clients": num_clients,
        "examples_per_client": examples_per_client,
        "clients_per_step": clients_per_step,
        "examples_per_second": job.num_examples / median,
        "clients_per_second": num_clients / median,
    }


if __name__ == "__main__":
    entry.run(main)
