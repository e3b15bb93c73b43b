"""The round loop. Everything besides training itself is a hook."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

Row = dict[str, Any]


@dataclasses.dataclass
class Round:
    """A finished round.

    Attributes:
      number: From 1.
      state: The learning process's state after it.
      row: The round's metrics; hooks may add to it.
      cohort: Ids of the clients that took part.
      metrics: What the process measured.
      stop: A hook sets it to make this the last round.
    """

    number: int
    state: Any
    row: Row
    cohort: Sequence[int] = ()
    metrics: Any = None
    stop: bool = False


class Hook(Protocol):
    """Called after every round, in the order of the list."""

    def after_round(self, finished: Round) -> None: ...


class Process(Protocol):
    """The part of `tff.learning.templates.LearningProcess` that is used."""

    def next(self, state: Any, client_data: list) -> Any: ...


def run_rounds(
    process: Process,
    state: Any,
    rounds: range,
    sample_cohort: Callable[[int], np.ndarray],
    client_data: Callable[[int, int], list],
    hooks: Sequence[Hook],
    releasing: Sequence[Hook] = (),
) -> Any:
    """Runs `rounds` and returns the last state.

    While a round trains, another thread builds the data of the next one and
    then runs the hooks of the one before. A round that has begun before a hook
    asked to stop is dropped as if it had never been.

    An exception, Ctrl-C included, is raised once the hooks that are running
    have come to their end.

    Args:
      process: Whose `next` is a round.
      state: Before the first of `rounds`.
      rounds: Round numbers; `range(1, n + 1)` for a run from the start.
      sample_cohort: round -> client ids.
      client_data: (client, round) -> that client's argument to the process.
      hooks: Called after each round, in order, on another thread.
      releasing: Called first, before anything else sees the round's result,
        the next round included; where one raises, nothing ever will.
    """

    def build(number):
        cohort = sample_cohort(number)
        return cohort, [client_data(client, number) for client in cohort]

    def after_round(finished):
        for hook in hooks:
            hook.after_round(finished)
        return finished

    last = state
    hooked: Future | None = None
    with ThreadPoolExecutor(1, "host") as host:
        built = host.submit(build, rounds[0]) if rounds else None
        for number in rounds:
            cohort, data = built.result()
            if number + 1 in rounds:
                built = host.submit(build, number + 1)
            started = time.monotonic()
            output = process.next(last, data)
            row = _row(number, len(cohort), output.metrics)
            row["seconds"] = time.monotonic() - started
            if hooked is not None and hooked.result().stop:
                break
            finished = Round(number, output.state, row, cohort, output.metrics)
            for hook in releasing:
                hook.after_round(finished)
            last = finished.state
            hooked = host.submit(after_round, finished)
            if finished.stop:
                break
        if hooked is not None:
            state = hooked.result().state
    return state


def _row(number: int, cohort_size: int, metrics: Any) -> Row:
    """What the process itself reports of a round."""
    client_work = metrics["client_work"]
    row = {
        "round": number,
        "cohort_size": cohort_size,
        "clients_excluded": int(client_work["num_nonfinite_clients"]),
        "train_loss": _number(client_work["train"]["loss"]),
        "train_accuracy": _number(client_work["train"]["accuracy"]),
    }
    query_metrics = metrics["aggregator"].get("dp_query_metrics", {})
    if "clip" in query_metrics:
        row["next_clip_norm"] = float(query_metrics["clip"])
    return row


def _number(value: Any) -> float | None:
    """A metric as a float; None where it is a mean over no examples."""
    value = float(value)
    return None if math.isnan(value) else value
