"""What each client has measured: as a table, in figures, and as a picture.

clients.csv has a row for each client of each set that was evaluated:

    round       after which it was
    set         holdout: what training clients hold out of their examples;
                unseen: clients that are never trained on, numbered from 0 by
                themselves; training: what clients are trained on, which is
                evaluated where there is neither of the others
    client      its number, by which cohorts know it
    examples    in the set; without any all that follows is empty
    accuracy    of the server's model, in [0, 1]
    loss        of the same, mean over the client's examples

and the accuracy and loss of other models with their name before it:
personal_ of the model that the client has for itself, tuned_ of its model (that
one, or else the server's) after local training, which `tuned_after` says, and
robust_ of the server's under attack. Of a private run each row ends with
`privacy`, which says that epsilon does not cover it.
"""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tff_cnn.core import pictures
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import write_atomically
from tff_cnn.evaluation.federated import ClientMetrics, statistics
from tff_cnn.training.diagnostics import NOT_PRIVATE
from tff_cnn.training.run_folder import CLIENT_SETS

if TYPE_CHECKING:  # They take a moment.
    import pandas
    from matplotlib.figure import Figure

SHOWN_SETS = {
    "holdout": "examples that training clients hold out",
    "unseen": "clients that are never trained on",
    "training": "examples that clients are trained on (none are held out)",
}
# What is before "accuracy" -> of what model it is.
MODELS = {
    "": "the server's model",
    "personal_": "the client's own model",
    "tuned_": "after local training",
    "robust_": "the server's model, under attack",
}
_FIXED = ("round", "set", "client", "examples")
_ROW_STATISTICS = ("mean", "worst_decile", "variance")


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ClientTable:
    """What each client has measured; as a text, the figures of all of them.

    Attributes:
      round: After which it was.
      sets: Set -> name in `MODELS` -> metrics of its clients 0, 1, ...
      is_private: Whether the run is, whose epsilon covers nothing of this.
      training: Local training before what is "tuned_", in words; None where
        there was none.
    """

    round: int
    sets: Mapping[str, Mapping[str, ClientMetrics]]
    is_private: bool = False
    training: str | None = None

    @property
    def main_set(self) -> str:
        """The one that stands for the clients."""
        return next(name for name in CLIENT_SETS if name in self.sets)

    @property
    def statistics(self) -> dict[str, Any]:
        """Set -> metric -> `evaluation.federated.statistics`.

        Of losses the means only.
        """
        return {
            name: {
                key: found
                for model, metrics in models.items()
                for key, found in _statistics(model, metrics).items()
            }
            for name, models in self.sets.items()
        }

    @property
    def summary(self) -> dict[str, Any]:
        """What summary.json and evaluation.json say of it."""
        return {
            "round": self.round,
            "main_set": self.main_set,
            "local_training": self.training,
            "privacy": self._label,
            "sets": self.statistics,
        }

    @property
    def row(self) -> dict[str, float | None]:
        """What a round's row tells of it, each client counting the same."""
        found = {}
        for name, metrics in self.statistics.items():
            prefix = "" if name == self.main_set else f"{name}_"
            for metric, values in metrics.items():
                if metric.endswith("accuracy"):
                    for of in _ROW_STATISTICS:
                        key = f"client_{prefix}{metric}_{of}"
                        found[key] = values["uniform"][of]
        return found

    @property
    def distributions(self) -> dict[str, np.ndarray]:
        """Metric -> its value at each client that has examples."""
        found = {}
        for name, models in self.sets.items():
            prefix = "" if name == self.main_set else f"{name}_"
            for model, metrics in models.items():
                has_any = metrics.examples > 0
                key = f"client_{prefix}{model}accuracy"
                found[key] = metrics.accuracy[has_any]
        return found

    @property
    def rows(self) -> list[dict[str, Any]]:
        """As in clients.csv; None of clients without examples."""
        return list(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for name, models in self.sets.items():
            for client, examples in enumerate(models[""].examples.tolist()):
                row = dict(
                    zip(
                        _FIXED,
                        (self.round, name, client, examples),
                        strict=True,
                    )
                )
                for model, metrics in models.items():
                    for of in ("accuracy", "loss"):
                        value = float(getattr(metrics, of)[client])
                        row[model + of] = value if examples else None
                if "tuned_" in models:
                    row["tuned_after"] = self.training
                if self.is_private:
                    row["privacy"] = NOT_PRIVATE
                yield row

    @property
    def _label(self) -> str | None:
        return NOT_PRIVATE if self.is_private else None

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a table.

        Raises:
          UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UsageError(
                "pandas is not installed: install it, or use the rows, which "
                "are a list of dictionaries."
            ) from error
        return pandas.DataFrame(self.rows)

    def figure(self) -> "Figure":
        """How accuracies are distributed over clients."""
        from tff_cnn.training import client_picture  # It knows of tables.

        return client_picture.figure(self)

    def show(self) -> "Figure | None":
        """Shows the figure in a notebook; elsewhere returns it."""
        return pictures.show(self.figure())

    def write(self, table: pathlib.Path, picture: pathlib.Path) -> None:
        """Writes clients.csv and clients.png."""
        write_atomically(table, self.to_csv().encode())
        write_atomically(picture, pictures.png(self.figure()))

    def to_csv(self) -> str:
        """The content of clients.csv."""
        text = io.StringIO()
        rows = self.rows
        columns = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def __repr__(self) -> str:
        return render(self.summary)


def _statistics(model: str, metrics: ClientMetrics) -> dict[str, Any]:
    losses = statistics(metrics.loss, metrics.examples)
    return {
        f"{model}accuracy": statistics(metrics.accuracy, metrics.examples),
        f"{model}loss": {
            kind: {"mean": losses[kind]["mean"]}
            for kind in ("uniform", "weighted")
        },
    }


def read(path: pathlib.Path) -> ClientTable:
    """The table that was written as clients.csv.

    Raises:
      UsageError: It is damaged.
    """
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        (number,) = {int(row["round"]) for row in rows}
        sets = {
            name: _models([row for row in rows if row["set"] == name])
            for name in dict.fromkeys(row["set"] for row in rows)
        }
        if not sets.keys() <= {*CLIENT_SETS}:
            raise ValueError(f"sets {', '.join(sets)}")
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is no table of clients ({error}): it was changed; restore "
            "it or remove it."
        ) from error
    training = next(
        (r["tuned_after"] for r in rows if r.get("tuned_after")), None
    )
    return ClientTable(number, sets, "privacy" in rows[0], training)


def _models(rows: list[dict[str, str]]) -> dict[str, ClientMetrics]:
    if [int(row["client"]) for row in rows] != list(range(len(rows))):
        raise ValueError("clients are missing")
    examples = np.array([int(row["examples"]) for row in rows], np.int64)

    def column(name):
        return np.array([float(row[name] or "nan") for row in rows])

    # Another set may have models that this one has not.
    found = [m for m in MODELS if any(r.get(f"{m}accuracy") for r in rows)]
    return {
        model: ClientMetrics(
            examples, column(f"{model}accuracy"), column(f"{model}loss")
        )
        for model in found or [""]
    }


def render(summary: Mapping[str, Any]) -> str:
    """The figures of a table as a text.

    Args:
      summary: As `ClientTable.summary`.
    """
    lines = [f"Clients after round {summary['round']}"]
    if summary["privacy"]:
        lines[0] += f" ({summary['privacy']}: epsilon does not cover this)"
    for name, metrics in summary["sets"].items():
        counts = metrics["accuracy"]
        told = f"{counts['num_clients']:,} clients"
        if counts["num_without_examples"]:
            told += f", {counts['num_without_examples']:,} without examples"
        told += f", {counts['num_examples']:,} examples"
        lines += ["", f"{name}: {SHOWN_SETS[name]}; {told}"]
        lines.append(
            f"  {'accuracy':<30}{'mean':>8}{'worst 10 %':>12}{'1st decile':>12}"
            f"{'median':>9}{'9th':>8}{'std':>7}"
        )
        for model, what in MODELS.items():
            if f"{model}accuracy" not in metrics:
                continue
            if model == "tuned_":
                what = f"after {summary['local_training']}"
            for kind, of in (
                ("uniform", what),
                ("weighted", "  weighted by examples"),
            ):
                found = metrics[f"{model}accuracy"][kind]
                lines.append(_line(of, found))
    return "\n".join(lines)


def _line(what: str, found: Mapping[str, Any]) -> str:
    if found["mean"] is None:
        return f"  {what:<30}{'-':>8}"
    deciles = found["deciles"]
    return (
        f"  {what:<30}{found['mean']:>8.2%}{found['worst_decile']:>12.2%}"
        f"{deciles[0]:>12.2%}{deciles[4]:>9.2%}{deciles[8]:>8.2%}"
        f"{found['variance'] ** 0.5:>7.3f}"
    )
