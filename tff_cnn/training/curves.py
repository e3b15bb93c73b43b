"""curves.png: how accuracy, loss and epsilon went, at a glance."""

import pathlib
from typing import TYPE_CHECKING, Any

from tff_cnn.core import pictures
from tff_cnn.core.files import write_atomically
from tff_cnn.training.diagnostics import NOT_PRIVATE, is_not_private
from tff_cnn.training.loop import Row

if TYPE_CHECKING:  # It takes a moment, and is only needed at the end.
    from matplotlib.figure import Figure


def draw(
    path: pathlib.Path, rows: list[Row], title: str, evaluated_on: str
) -> None:
    """Writes `figure` as a PNG."""
    write_atomically(path, pictures.png(figure(rows, title, evaluated_on)))


def title(config: Any, num_clients: int | None) -> str:
    """Says what a `RunConfig` trains; None are the clients that data has."""
    names = {name: entry.name for name, _, entry in config.chosen()}
    clients = "its own" if num_clients is None else num_clients
    return f"{names['algorithm']} on {names['dataset']}, {clients} clients"


def figure(rows: list[Row], title: str, evaluated_on: str) -> "Figure":
    """Draws the rows of a run, one or more.

    Epsilon has a panel of its own where the run is private. `evaluated_on` is
    what `test_*` was computed on: "test" or "validation".
    """
    is_private = rows[-1]["epsilon"] is not None
    panels = ["accuracy", "loss"] + (["epsilon"] if is_private else [])
    drawn = pictures.new(4.2 * len(panels), 3.4)
    axes = drawn.subplots(1, len(panels), squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        axis.set_xlabel("round")
        axis.set_title(panel)
        axis.grid(alpha=0.3)
        if panel == "epsilon":
            _plot(axis, rows, "epsilon", f"at delta {rows[-1]['delta']:.2g}")
            axis.set_ylim(bottom=0)
        else:
            label = "clients, while training"
            if is_not_private(rows[-1], f"train_{panel}"):
                label += f"\n({NOT_PRIVATE})"
            _plot(axis, rows, f"train_{panel}", label)
            _plot(axis, rows, f"test_{panel}", f"{evaluated_on} set")
            _plot(axis, rows, f"holdout_{panel}", "held out by the clients")
        if panel == "accuracy":
            attacked = f"{evaluated_on} set, under attack"
            _plot(axis, rows, "test_robust_accuracy", attacked)
        axis.legend()
    drawn.suptitle(title)
    return drawn


def _plot(axis, rows: list[Row], key: str, label: str) -> None:
    points = [(r["round"], r[key]) for r in rows if r.get(key) is not None]
    if points:
        marker = "o" if len(points) <= 30 else None
        axis.plot(*zip(*points, strict=True), label=label, marker=marker, ms=3)
