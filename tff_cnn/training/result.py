"""What a run has given, for programs and notebooks."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tff_cnn.config import RunConfig
from tff_cnn.core import pictures
from tff_cnn.core.errors import UsageError
from tff_cnn.models import MODELS
from tff_cnn.training import (
    client_table,
    curves,
    export,
    privacy_card,
    summary,
)
from tff_cnn.training.client_table import ClientTable
from tff_cnn.training.loop import Row
from tff_cnn.training.run_folder import RunFolder

if TYPE_CHECKING:  # They take seconds.
    import pandas
    import tensorflow as tf
    from matplotlib.figure import Figure


class Metrics(list[Row]):
    """A row for each round, as in metrics.jsonl."""

    def to_pandas(self) -> "pandas.DataFrame":
        """A table with the rounds as its index.

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
        return pandas.DataFrame(list(self)).set_index("round")


class Privacy(Mapping):
    """What is guaranteed, and to whom: `privacy` of summary.json.

    As a text it is the guarantee in words; of a run without noise, that there
    is none. `["epsilon"]` and `["delta"]` are then None.
    """

    def __init__(self, found: Mapping[str, Any]):
        """Args:
        found: As in summary.json.
        """
        self._summary = found
        none = {"epsilon": None, "delta": None}
        self._statement = {**none, **found["privacy"]}

    @property
    def is_private(self) -> bool:
        """Whether there is a guarantee."""
        return self._summary["is_private"]

    @property
    def card(self) -> str:
        """The privacy card that belongs to the model, as Markdown."""
        return privacy_card.render(self._summary)

    def __getitem__(self, name: str) -> Any:
        return self._statement[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statement)

    def __len__(self) -> int:
        return len(self._statement)

    def __repr__(self) -> str:
        return self._statement["guarantee"]


@dataclasses.dataclass(frozen=True)
class Result:
    """What `tff_cnn.train` returns.

    Attributes:
      model: tf.keras.Model: images as they were given, float or uint8, [n,
        height, width, channels] (or without channels where that is one) ->
        logits, [n, classes]. It is compiled for `evaluate`.
      metrics: A row for each round.
      privacy: The guarantee.
      summary: As in summary.json.
      run_dir: The run's folder; None where none was named.
      title: Of the curves.
      clients: What each client has measured after the last round; None where
        they were not evaluated one by one.
    """

    model: "tf.keras.Model"
    metrics: Metrics
    privacy: Privacy
    summary: Mapping[str, Any]
    run_dir: str | None
    title: str
    clients: ClientTable | None = None

    def figure(self) -> "Figure":
        """Accuracy, loss and, of a private run, epsilon over rounds."""
        return curves.figure(
            self.metrics, self.title, self.summary["evaluated_on"]
        )

    def show(self) -> "Figure | None":
        """Shows the curves in a notebook; elsewhere returns the figure."""
        return pictures.show(self.figure())

    def __repr__(self) -> str:
        return f"{self.title}\n{summary.render(self.summary, self.run_dir)}"


def read(folder: RunFolder, config: RunConfig, run_dir: str | None) -> Result:
    """The result of a complete run.

    Args:
      folder: Of the run.
      config: Of the run.
      run_dir: See `Result`.

    Raises:
      UsageError: The folder's files are damaged.
    """
    build = MODELS.builder(config.model)
    model = export.load(
        folder.export,
        lambda shape, num_classes: build(shape, num_classes, config.seed),
    )
    found = folder.read_summary()
    return Result(
        model,
        Metrics(folder.read_rows()),
        Privacy(found),
        found,
        run_dir,
        curves.title(config, config.num_clients),
        _clients(folder, found),
    )


def _clients(folder: RunFolder, found: Mapping[str, Any]) -> ClientTable | None:
    if "clients" not in found or not folder.clients.is_file():
        return None
    return client_table.read(folder.clients)
