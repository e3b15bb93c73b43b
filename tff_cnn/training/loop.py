"""The round loop. Everything besides training itself is a hook."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from tff_cnn.training.engine import Engine, Measured, Row

if TYPE_CHECKING:  # See `training.engine`.
    import numpy as np

    from tff_cnn.core.weights import Weights


@dataclasses.dataclass
class Round:
    """A finished round: one release by the server (`training.engine`).

    Attributes:
      number: From 1.
      state: The engine's after it; only the engine knows its structure.
      row: The round's metrics; hooks may add to it.
      cohort: Ids of the clients that took part.
      measured: What became of its updates, where the engine measures that.
      get_weights: State -> trainable weights (`Engine.weights`).
      stop: A hook sets it to make this the last round.
      distributions: Name -> what hooks have found of each of several clients,
        float64, [clients].
    """

    number: int
    state: Any
    row: Row
    cohort: Sequence[int] = ()
    measured: Measured | None = None
    get_weights: "Callable[[Any], Weights] | None" = None
    stop: bool = False
    distributions: "dict[str, np.ndarray]" = dataclasses.field(
        default_factory=dict
    )

    @property
    def weights(self) -> "Weights":
        """The trainable ones after it; computed when a hook asks for them."""
        return self.get_weights(self.state)


class Hook(Protocol):
    """Called after every round, in the order of the list."""

    def after_round(self, finished: Round) -> None: ...


def run_rounds(
    engine: Engine,
    state: Any,
    rounds: range,
    hooks: Sequence[Hook],
    releasing: Sequence[Hook] = (),
) -> Any:
    """Runs `rounds` and returns the last state.

    While a round is computed, one thread plans the next one, which reads the
    data of its clients, and another runs the hooks of the one before. A round
    that has begun before a hook asked to stop is dropped as if it had never
    been. A row has the `seconds` in which the round was computed, and before
    them the `data_wait_seconds` in which the loop waited for its plan.

    An exception, Ctrl-C included, is raised once the hooks that are running
    have come to their end.

    Args:
      engine: Whose step is a round.
      state: Before the first of `rounds`.
      rounds: Round numbers; `range(1, n + 1)` for a run from the start.
      hooks: Called after each round, in order, on another thread.
      releasing: Called first, before anything else sees the round's result,
        the next round included; where one raises, nothing ever will.
    """

    def after_round(finished):
        for hook in hooks:
            hook.after_round(finished)
        return finished

    last = state
    hooked: Future | None = None
    with (
        ThreadPoolExecutor(1, "plan") as planner,
        ThreadPoolExecutor(1, "host") as host,
    ):
        planned = planner.submit(engine.plan, rounds[0]) if rounds else None
        for number in rounds:
            waiting = time.monotonic()
            work = planned.result()
            if number + 1 in rounds:
                planned = planner.submit(engine.plan, number + 1)
            started = time.monotonic()
            result = engine.step(last, work)
            seconds = time.monotonic() - started
            if hooked is not None and hooked.result().stop:
                break
            finished = Round(
                number,
                result.state,
                {
                    "round": number,
                    **result.row,
                    "seconds": seconds,
                    "data_wait_seconds": started - waiting,
                },
                work.cohort if result.cohort is None else result.cohort,
                result.measured,
                engine.weights,
            )
            for hook in releasing:
                hook.after_round(finished)
            last = finished.state
            hooked = host.submit(after_round, finished)
            if finished.stop:
                break
        if hooked is not None:
            state = hooked.result().state
    return state
