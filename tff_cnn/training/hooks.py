"""Hooks that add to a round's row: privacy, evaluation, costs; and progress."""

import math
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence

from tff_cnn.core.weights import Weights
from tff_cnn.privacy.ledger import Ledger, StagedLedger
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.training.checkpoints import state_digest
from tff_cnn.training.diagnostics import is_not_private
from tff_cnn.training.loop import Round, Row
from tff_cnn.training.releases import Releases


class ReleaseHook:
    """Records a round on the disk, before anything sees its result.

    For `loop.run_rounds`' hooks that are `releasing`.
    """

    def __init__(self, releases: Releases):
        """Args:
        releases: The run's record.
        """
        self._releases = releases

    def after_round(self, finished: Round) -> None:
        self._releases.record(
            finished.number,
            state_digest(finished.state),
            finished.row.get("dp_cohort_accuracy"),
        )


class LedgerHook:
    """Counts the round, adds `epsilon` and `delta`, and stops at the limit.

    Of a stage within the clients it adds the same as `local_epsilon` and
    `local_delta`; `epsilon` is that of aggregation where both have noise.

    It comes first: what follows must know whether the round was the last that
    the limit allows.
    """

    def __init__(self, ledger: Ledger | StagedLedger | None):
        self._ledger = ledger

    def after_round(self, finished: Round) -> None:
        row = finished.row
        row["epsilon"] = row["delta"] = None
        if self._ledger is not None:
            row["epsilon"] = self._ledger.spend_round()
            row["delta"] = self._ledger.delta
            for stage in self._ledger.stages:
                prefix = stage.mechanism.prefix
                if prefix != CentralMechanism.prefix:
                    row[f"{prefix}_epsilon"] = stage.epsilon()
                    row[f"{prefix}_delta"] = stage.delta
            if not self._ledger.allows_next_round():
                finished.stop = True


class EvaluationHook:
    """Adds `test_loss` and `test_accuracy`, and stops at a target accuracy.

    Of examples that clients hold out it adds `holdout_loss` and
    `holdout_accuracy`. All are null in rounds that are not evaluated.
    """

    def __init__(
        self,
        evaluations: Mapping[str, Callable[[Weights], dict[str, float]]],
        last_round: int,
        every: int,
        target_accuracy: float | None,
    ):
        """Args:
        evaluations: "test", and where there is one "holdout" -> what makes
          `loss`, `accuracy` and whatever else of weights.
        last_round: Always evaluated.
        every: Rounds between two evaluations; 0 is only the last.
        target_accuracy: The run stops at the first evaluation that reaches it.
        """
        self._evaluations = evaluations
        self._last_round = last_round
        self._every = every
        self._target = target_accuracy

    def after_round(self, finished: Round) -> None:
        row = finished.row
        for name in self._evaluations:
            row[f"{name}_loss"] = row[f"{name}_accuracy"] = None
        if not _is_due(finished, self._last_round, self._every):
            return
        for name, evaluate in self._evaluations.items():
            for metric, value in evaluate(finished.weights).items():
                row[f"{name}_{metric}"] = value
        if reaches(row, self._target):
            finished.stop = True


class LearningRateHook:
    """Adds the learning rates of the round, where they change over rounds."""

    def __init__(self, rates_of: Callable[[int], Mapping[str, float]]):
        """Args:
        rates_of: Round -> what to add (`learning_rates.row`).
        """
        self._rates_of = rates_of

    def after_round(self, finished: Round) -> None:
        finished.row.update(self._rates_of(finished.number))


class RobustnessHook:
    """Adds `test_robust_accuracy`; null in rounds where it is not evaluated.

    It comes behind what may make the round the last.
    """

    def __init__(
        self,
        evaluate: Callable[[Weights], dict[str, float]],
        last_round: int,
        every: int,
    ):
        """Args:
        evaluate: What makes `robust_accuracy` of weights.
        last_round: Always evaluated.
        every: Rounds between two evaluations; 0 is only the last.
        """
        self._evaluate = evaluate
        self._last_round = last_round
        self._every = every

    def after_round(self, finished: Round) -> None:
        found = {"robust_accuracy": None}
        if _is_due(finished, self._last_round, self._every):
            found = self._evaluate(finished.weights)
        for metric, value in found.items():
            finished.row[f"test_{metric}"] = value


def _is_due(finished: Round, last_round: int, every: int) -> bool:
    """Whether a round is evaluated: one of `every`, and the last."""
    if every and finished.number % every == 0:
        return True
    return finished.stop or finished.number == last_round


class CostHook:
    """Adds examples trained on and bytes sent, computed from the cohort.

    What the engine has told of them itself stays. Bytes are else those of
    uncompressed float32 weights to, and updates with one float32 weight from,
    each client of the cohort; in all, of both.
    """

    def __init__(
        self,
        weight_bytes: int,
        count_examples: Callable[[Sequence[int], int], int],
    ):
        """Args:
        weight_bytes: Size of the model.
        count_examples: (cohort, round) -> examples trained on, over clients
          and epochs.
        """
        self._weight_bytes = weight_bytes
        self._count_examples = count_examples

    def after_round(self, finished: Round) -> None:
        row = finished.row
        size = row["cohort_size"]
        if "examples" not in row:
            row["examples"] = self._count_examples(
                finished.cohort, finished.number
            )
        row.setdefault("bytes_down", size * self._weight_bytes)
        row.setdefault("bytes_up", size * (self._weight_bytes + 4))
        row["bytes_total"] = row["bytes_down"] + row["bytes_up"]


class ClockHook:
    """Adds `simulated_seconds`, and `simulated_time` since the run began.

    What the engine has told of them itself stays. Of seconds of this machine
    they know nothing: see `selection.speeds`.
    """

    def __init__(self, seconds: Callable[[int], float], rows: Sequence[Row]):
        """Args:
        seconds: Round -> simulated seconds that it takes.
        rows: Of all rounds before; it grows with the run.
        """
        self._seconds = seconds
        self._rows = rows

    def after_round(self, finished: Round) -> None:
        row = finished.row
        if "simulated_time" in row:
            return
        before = self._rows[-1]["simulated_time"] if self._rows else 0.0
        row["simulated_seconds"] = self._seconds(finished.number)
        row["simulated_time"] = before + row["simulated_seconds"]


class ProgressBar:
    """A bar over rounds: losses, accuracy, epsilon so far, time left."""

    def __init__(self, first_round: int, last_round: int):
        self._bar = _bar_class()(
            total=last_round,
            initial=first_round - 1,
            unit="round",
            dynamic_ncols=True,
            bar_format=(
                "round {n_fmt}/{total_fmt} |{bar}| {desc}"
                " [{elapsed}, ETA {remaining}]"
            ),
        )
        self._accuracy: float | None = None

    def after_round(self, finished: Round) -> None:
        row = finished.row
        if row["test_accuracy"] is not None:
            self._accuracy = row["test_accuracy"]
        loss = _show(row["train_loss"], ".3f")
        if is_not_private(row, "train_loss"):
            loss += " (not private)"
        parts = [f"loss {loss}"]
        parts.append(f"test acc {_show(self._accuracy, '.1%')}")
        if row["epsilon"] is not None:
            parts.append(f"epsilon {row['epsilon']:.2f}")
        if row["clients_excluded"]:
            parts.append(f"{row['clients_excluded']} excluded")
        self._bar.set_description_str(", ".join(parts), refresh=False)
        self._bar.update(1)

    def close(self) -> None:
        self._bar.close()


def _bar_class() -> type:
    """tqdm's bar for a terminal, or the one for notebooks where it can be.

    That needs ipywidgets, and tqdm warns where they are not there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tqdm.autonotebook

    return tqdm.autonotebook.tqdm


def reaches(row: Row, target_accuracy: float | None) -> bool:
    """Whether an evaluated round reaches the target."""
    return (
        target_accuracy is not None
        and row["test_accuracy"] is not None
        and row["test_accuracy"] >= target_accuracy
    )


def speed(rows: list[Row]) -> dict[str, float]:
    """Median `seconds_per_round`, and `examples_per_second` over all rounds."""
    seconds = [row["seconds"] for row in rows]
    return {
        "seconds_per_round": statistics.median(seconds),
        "examples_per_second": sum(r["examples"] for r in rows)
        / math.fsum(seconds),
    }


def _show(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)
