"""Rounds whose secure sums are executed by a protocol (`--secure_protocol`)."""

import dataclasses
from typing import Any

from tff_cnn.aggregators.masking import execution
from tff_cnn.aggregators.masking.execution import Masking
from tff_cnn.core import weights as weight_arithmetic
from tff_cnn.training.engine import Engine, StepResult, Work
from tff_cnn.training.narrowing import LOSS_BYTES


def masked(engine: Engine, run: Any) -> Engine:
    """The engine, with masked sums where they were chosen.

    Args:
      engine: Of the run.
      run: `training.assembly.Run`.
    """
    options = run.config.aggregator
    if getattr(options, "secure_protocol", "none") != "masking":
        return engine
    masking = Masking(
        options.secure_threshold,
        options.secure_neighbours,
        options.secure_dropout,
    )
    return _Masked(engine, masking, run.config.seed)


@dataclasses.dataclass(frozen=True)
class _Masked:
    """An `Engine` that is another one but for how sums are executed.

    Attributes:
      engine: The other one.
      masking: How.
      seed: Root seed of the run, which dropouts follow from.
    """

    engine: Engine
    masking: Masking
    seed: int

    def __getattr__(self, name: str) -> Any:
        # Copies are looked at before they have an engine.
        if "engine" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.engine, name)

    def step(self, state: Any, work: Work) -> StepResult:
        """The engine's, with masked sums; rows tell what became of them."""
        with execution.of_round(self.masking, self.seed, work.number) as report:
            result = self.engine.step(state, work)
        size = weight_arithmetic.num_bytes(self.engine.weights(state))
        row = {"bytes_down": result.row["cohort_size"] * size, **result.row}
        polled = 0
        if getattr(self.engine, "narrow", None) is not None:
            polled = len(work.cohort) * LOSS_BYTES
        row |= {
            "secure_dropped": report.dropped,
            "secure_recovered": report.recovered,
            "secure_aborted": report.aborted,
            # In the place of updates that are sent as they are.
            "bytes_up": report.bytes_up + polled,
            "bytes_down": row["bytes_down"] + report.bytes_down,
        }
        return result._replace(row=row)
