"""Rounds with secure sums: how many clients they have, and their protocol.

Of the protocol (`--secure_protocol`), or of plain sums, an algorithm knows
nothing: see `core.secure_sums`.
"""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tff_cnn.aggregators.masking import execution
from tff_cnn.aggregators.masking.execution import Masking
from tff_cnn.algorithms.local_training import DROPPED
from tff_cnn.config import RunConfig
from tff_cnn.core import weights as weight_arithmetic
from tff_cnn.core.errors import FailedRunError, UsageError
from tff_cnn.selection import SAMPLERS
from tff_cnn.training.engine import Engine, StepResult, Work
from tff_cnn.training.narrowing import LOSS_BYTES


def check_sampler(config: RunConfig, sampler: Any) -> None:
    """Raises `UsageError` where cohorts may be too large for a secure sum.

    A sampler from elsewhere need not say how large its cohorts can be; then
    `check_cohort` ends the run.

    Args:
      config: Resolved.
      sampler: Of the run, canaries included.
    """
    most = _most_clients(config)
    largest = getattr(sampler, "largest_cohort", None)
    # Of more clients than are needed, no more are waited for.
    is_cut = config.over_selection is not None
    if most is None or largest is None or is_cut or largest <= most:
        return
    sampling = SAMPLERS.entry_of(config.sampling).full_name
    raise UsageError(
        f"<sampling>={sampling} may draw {largest} clients for a round, more "
        f"than <aggregator.secure_max_clients>={most}, whose sum might "
        "overflow: raise the latter, or use fewer <clients_per_round>."
    )


def check_cohort(config: RunConfig, number: int, cohort: Sequence[int]) -> None:
    """Raises `FailedRunError` where a cohort is too large for a secure sum.

    Args:
      config: Resolved.
      number: Of the round.
      cohort: Its clients, to whom nothing has been sent yet.
    """
    most = _most_clients(config)
    if most is not None and len(cohort) > most:
        raise FailedRunError(
            f"round {number} has {len(cohort)} clients, and "
            f"<aggregator.secure_max_clients>={most} is less, so that their "
            "sum might overflow: begin another run with more."
        )


def _most_clients(config: RunConfig) -> int | None:
    """Whose sum fits; None where sums are not of integers."""
    return getattr(config.aggregator, "secure_max_clients", None)


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
        """The engine's, with masked sums; rows tell what became of them.

        Means over clients are of those who are in the sum; of an aborted round
        there is nobody. It leaves the state as it was: a server optimizer would
        go on by its momentum, and count a step.
        """
        with execution.of_round(self.masking, self.seed, work.number) as report:
            result = self._step(state, work)
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
        result = result._replace(row=row)
        if report.aborted:
            row |= dict.fromkeys(("train_loss", "train_accuracy"))
            result = result._replace(state=state)
        return result

    def _step(self, state: Any, work: Work) -> StepResult:
        """The engine's, with clients that know whether they drop out."""
        engine, narrow = self.engine, getattr(self.engine, "narrow", None)
        if not self.masking.dropout:
            return engine.step(state, work)
        if narrow is None:
            return engine.step(state, self._marked(work))
        engine = dataclasses.replace(
            engine,
            narrow=lambda weights, work: self._marked(narrow(weights, work)),
        )
        return engine.step(state, work)

    def _marked(self, work: Work) -> Work:
        gone = execution.absent(
            self.masking, self.seed, work.number, len(work.data)
        )
        data = [
            [
                collections.OrderedDict(e, **{DROPPED: np.float32(u in gone)})
                for e in elements
            ]
            for u, elements in enumerate(work.data)
        ]
        return work._replace(data=data)
