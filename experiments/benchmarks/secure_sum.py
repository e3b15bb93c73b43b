"""Measures a masked secure sum, phase by phase.

  python -m experiments.benchmarks.secure_sum --json=out.json

By default 100 clients of 1,663,370 numbers (the McMahan CNN), of whom 20 drop
out after they have shared their secrets, which is what costs the server most.
All clients and the server are computed in this process, one after the other;
the sum is compared with the plain one. Vectors are of 22 bits, and 100 of them
below 2^32.

Seconds of the clock and of the processor, the latter for machines that others
use. Bytes are of the messages as they are sent.
"""

import time

import numpy as np
from absl import flags

from experiments import entry, outputs
from tff_cnn.aggregators.masking import graphs
from tff_cnn.aggregators.masking.messages import Phase
from tff_cnn.aggregators.masking.protocol import SecureSum
from tff_cnn.aggregators.masking.rings import Ring
from tff_cnn.core.errors import FailedRunError, UsageError

_CLIENTS = flags.DEFINE_integer("clients", 100, "Clients.", 2)
_SIZE = flags.DEFINE_integer("size", 1_663_370, "Numbers of a vector.", 1)
_DROPPED = flags.DEFINE_float(
    "dropped", 0.2, "Part of the clients that drop out.", 0.0, 1.0
)
_THRESHOLD = flags.DEFINE_float(
    "threshold", 2 / 3, "Part of the clients that it takes.", 0.501, 1.0
)
_NEIGHBOURS = flags.DEFINE_integer(
    "neighbours", 0, "Clients that each masks with, even; 0 is all.", 0
)
_BITS = flags.DEFINE_integer("bits", 32, "Of the modulus.", 24, 62)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")


def main(argv: list[str]) -> None:
    """Runs and prints; writes JSON where asked."""
    del argv
    outputs.check(_JSON.value, "--json")
    if _NEIGHBOURS.value % 2:
        raise UsageError(
            f"--neighbours={_NEIGHBOURS.value} must be even: half of them on "
            "either side of a client."
        )
    figures = _measure()
    for phase in figures["phases"]:
        print(
            f"{phase['phase']:<10} {phase['seconds']:6.1f} s, "
            f"{phase['cpu_seconds']:6.1f} s of the processor"
        )
    print(
        f"{figures['clients']} clients x {figures['size']:,} numbers, "
        f"{figures['dropped']} dropped: exact, {figures['seconds']:.1f} s "
        f"({figures['cpu_seconds']:.1f} s); a client sends "
        f"{figures['bytes_up'] / 1e6:.2f} MB and gets "
        f"{figures['bytes_down'] / 1e3:.1f} kB"
    )
    outputs.write_json(_JSON.value, figures)


class _Clock:
    """Seconds by the name of what they were spent on."""

    def __init__(self):
        self.phases: dict[str, np.ndarray] = {}

    def __call__(self, name: str, step, *arguments):
        """What a step returns."""
        before = self._now()
        found = step(*arguments)
        spent = self.phases.setdefault(name, np.zeros(2))
        spent += self._now() - before
        return found

    def _now(self) -> np.ndarray:
        return np.array([time.monotonic(), time.process_time()])


def _measure() -> dict:
    number, modulus = _CLIENTS.value, 2**_BITS.value
    rng = np.random.default_rng(0)
    dropped = set(range(round(_DROPPED.value * number)))
    graph = graphs.complete(number)
    if _NEIGHBOURS.value:
        graph = graphs.regular(number, _NEIGHBOURS.value, rng)
    clock = _Clock()
    session = clock(
        "sharing",
        SecureSum,
        graph,
        _THRESHOLD.value,
        Ring(modulus),
        dict.fromkeys(dropped, Phase.MASKED_INPUT),
    )
    expected = np.zeros(_SIZE.value, np.uint64)
    for client in range(number):
        vector = rng.integers(0, 2**22, _SIZE.value, np.uint32)
        if client not in dropped:
            expected += vector
        clock("masking", session.add, client, vector)
    outcome = clock("unmasking", session.finish)
    if outcome.total is None:
        raise FailedRunError(f"the sum was aborted: {outcome.reason}")
    if not np.array_equal(outcome.total, expected % modulus):
        raise FailedRunError("the sum is not that of the clients' vectors.")
    seconds, cpu_seconds = sum(clock.phases.values())
    sent = session.transcript
    return {
        "clients": number,
        "size": _SIZE.value,
        "dropped": len(dropped),
        "neighbours": _NEIGHBOURS.value or number - 1,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "phases": [
            {"phase": name, "seconds": spent[0], "cpu_seconds": spent[1]}
            for name, spent in clock.phases.items()
        ],
        # Of a client that stays to the end.
        "bytes_up": max(sent.bytes_up.values()),
        "bytes_down": max(sent.bytes_down.values()),
    }


if __name__ == "__main__":
    entry.run(main)
