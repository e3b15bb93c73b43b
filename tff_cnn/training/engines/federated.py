"""A synchronous TFF process: a round is one call of its `next`."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow_federated as tff

from tff_cnn.core import weights as weight_arithmetic
from tff_cnn.core.weights import Weights
from tff_cnn.training.engine import Measured, Row, StepResult, Work
from tff_cnn.training.narrowing import LOSS_BYTES, Narrow


def build(run: Any, scratch: pathlib.Path | None) -> "Federated":
    """The engine of a `training.assembly.Run`."""
    del scratch  # Clients keep nothing.
    return Federated(
        run.process, run.sample_cohort, run.client_data, run.narrow
    )


# An update comes with one float32 weight.
_WEIGHT_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Federated:
    """An `Engine` whose round is a cohort's training and the mean of it.

    Attributes:
      process: Whose state has `global_model_weights`, as that of
        `tff.learning.templates.compose_learning_process` has.
      sample_cohort: Round -> client ids.
      client_data: (client, round) -> that client's argument to the process.
      narrow: Takes those who take part out of a cohort of candidates; None
        takes all.
    """

    process: tff.learning.templates.LearningProcess
    sample_cohort: Callable[[int], Sequence[int]]
    client_data: Callable[[int, int], Any]
    narrow: Narrow | None = None

    def initialize(self) -> Any:
        """The process's initial state."""
        return self.process.initialize()

    def plan(self, number: int) -> Work:
        """The cohort, and what each of its clients hands to the process."""
        cohort = self.sample_cohort(number)
        data = [self.client_data(client, number) for client in cohort]
        return Work(number, cohort, data)

    def step(self, state: Any, work: Work) -> StepResult:
        """One `next` of the process, and its metrics as a row."""
        num_sent, polls = len(work.cohort), 0
        if self.narrow is not None:
            work = self.narrow(self.weights(state), work)
            polls = num_sent * LOSS_BYTES
        output = self.process.next(state, work.data)
        found = {"cohort_size": len(work.cohort), **row(output.metrics)}
        if self.narrow is not None or weights_sent(output.metrics, 0):
            size = weight_arithmetic.num_bytes(self.weights(state))
            up = len(work.cohort) * (size + _WEIGHT_BYTES)
            found["bytes_down"] = num_sent * weights_sent(output.metrics, size)
            found["bytes_up"] = found.get("bytes_up", up) + polls
        return StepResult(
            output.state, found, measured(output.metrics), work.cohort
        )

    def weights(self, state: Any) -> Weights:
        """The trainable weights of the global model."""
        return state.global_model_weights.trainable


def row(metrics: Any) -> Row:
    """What the process reports; client works but ours exclude nobody."""
    client_work = _part(metrics, "client_work")
    train = _part(client_work, "train")
    found = {
        "clients_excluded": int(client_work.get("num_nonfinite_clients", 0)),
        "train_loss": _number(train.get("loss")),
        "train_accuracy": _number(train.get("accuracy")),
    }
    aggregator = _part(metrics, "aggregator")
    query = _part(aggregator, "dp_query_metrics")
    if "clip" in query:
        found["next_clip_norm"] = float(query["clip"])
    counted = _counted({"client_work": client_work, "aggregator": aggregator})
    return {**found, **{name: int(value) for name, value in counted.items()}}


def _counted(measurements: Mapping[str, Any]) -> dict[str, Any]:
    """What rows have of what a chain's parts measure, each within the next."""
    found = {}
    for name, value in measurements.items():
        if isinstance(value, Mapping):
            found = {**_counted(value), **found}
        elif name == "bytes_up" or name.startswith("secure_"):
            found[name] = value
    return found


def weights_sent(metrics: Any, size: int) -> int:
    """Bytes of the weights that a client was sent.

    Args:
      metrics: Of a process.
      size: Uncompressed.
    """
    return int(_part(metrics, "distributor").get("bytes_down", size))


def measured(metrics: Any) -> Measured | None:
    """What an aggregator with a `MeasuredSumFactory` counted, if any."""
    counts = _part(_part(metrics, "aggregator"), "dp")
    if not counts:
        return None
    return Measured(*(float(counts[name]) for name in Measured._fields))


def _part(metrics: Any, name: str) -> Mapping[str, Any]:
    """Metrics by name, of which there may be none: TFF's empty ones are ()."""
    part = metrics.get(name) if isinstance(metrics, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _number(value: Any) -> float | None:
    """A metric as a float; None where it is a mean over no examples."""
    if value is None or math.isnan(value):
        return None
    return float(value)
