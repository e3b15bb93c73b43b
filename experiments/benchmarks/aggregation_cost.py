"""Measures time and memory of aggregations.

  python -m experiments.benchmarks.aggregation_cost --json=out.json
  python -m experiments.benchmarks.aggregation_cost \\
    --clients=1000 --parameters=1700000 --aggregators=mean,median,krum

One round on the in-process runtime, of clients whose updates are drawn at
random where they are needed, so that what is in memory is the aggregation's.
Each has a process of its own, whose peak is the largest resident set, that of
TensorFlow included. What is collected beyond 2 GiB is in a file (TMPDIR).
"""

import multiprocessing
import time

import tqdm
from absl import flags

from experiments import entry, outputs
from tff_cnn.aggregators import AGGREGATORS

_CLIENTS = flags.DEFINE_integer("clients", 50, "Clients in the round.", 1)
_PARAMETERS = flags.DEFINE_integer(
    "parameters", 100_000, "Numbers in an update.", 1
)
_AGGREGATORS = flags.DEFINE_list(
    "aggregators",
    ["mean", "median", "trimmed_mean", "geometric_median", "krum"],
    "Which, separated by commas; each as <aggregator> takes it.",
)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")


def main(argv: list[str]) -> None:
    """Prints a table, and writes it as JSON where asked."""
    del argv
    outputs.check(_JSON.value, "--json")
    for name in _AGGREGATORS.value:
        AGGREGATORS.options_of(name, "aggregators")
    rows = [
        _in_own_process(name, _CLIENTS.value, _PARAMETERS.value)
        for name in tqdm.tqdm(_AGGREGATORS.value, unit="aggregator")
    ]
    width = max(len(row["aggregator"]) for row in rows)
    print(f"{'aggregator':{width}}  seconds  peak GB")
    for row in rows:
        print(
            f"{row['aggregator']:{width}}  {row['seconds']:>7.1f}  "
            f"{row['peak_gb']:>7.2f}"
        )
    outputs.write_json(_JSON.value, {"rows": rows})


def _in_own_process(*arguments) -> dict[str, float]:
    # A process that was forked would count what its parent has.
    spawning = multiprocessing.get_context("spawn")
    with spawning.Pool(1) as pool:
        return pool.apply(measure, arguments)


def measure(name: str, num_clients: int, num_parameters: int) -> dict:
    """A round in this process.

    Args:
      name: Of the aggregator.
      num_clients: In the round.
      num_parameters: In an update.

    Returns:
      The row of the table: seconds, and the peak in 10^9 bytes.
    """
    from tff_cnn import runtime
    from tff_cnn.config import RunConfig

    runtime.prepare("in_process")
    with runtime.use("in_process", **RunConfig().runtime.opening()):
        one_round = _build(name, num_parameters)
        started = time.perf_counter()
        one_round(num_clients)
        seconds = time.perf_counter() - started
    return {
        "aggregator": name,
        "clients": num_clients,
        "parameters": num_parameters,
        "seconds": seconds,
        "peak_gb": _peak() / 1e9,
    }


def _build(name: str, num_parameters: int):
    """Number of clients -> the aggregate of a first round."""
    import numpy as np
    import tensorflow as tf
    import tensorflow_federated as tff

    from tff_cnn.aggregators import composition

    update_type = tff.TensorType(np.float32, (num_parameters,))
    weight_type = tff.TensorType(np.float32)
    process = composition.build_aggregator(AGGREGATORS.options_of(name)).create(
        update_type, weight_type
    )

    @tff.tensorflow.computation(np.int32)
    def client(number):
        seed = tf.stack([number, 0])
        shape = [num_parameters]
        return tf.random.stateless_uniform(shape, seed, -1, 1), 1.0

    @tff.federated_computation(
        process.initialize.type_signature.result,
        tff.FederatedType(np.int32, tff.CLIENTS),
    )
    def one_round(state, numbers):
        sent = tff.federated_map(client, numbers)
        return process.next(state, sent[0], sent[1]).result

    state = process.initialize()
    one_round(state, [0])  # It is compiled now.
    return lambda num_clients: one_round(state, list(range(num_clients)))


def _peak() -> int:
    """The largest resident set that this process has had, in bytes."""
    with open("/proc/self/status", encoding="utf-8") as file:
        (line,) = [line for line in file if line.startswith("VmHWM:")]
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    entry.run(main)
