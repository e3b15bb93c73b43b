"""curves.png: how accuracy, loss and epsilon went, at a glance."""

import io
import pathlib

from tff_cnn.core.files import write_atomically
from tff_cnn.training.diagnostics import NOT_PRIVATE, is_not_private
from tff_cnn.training.loop import Row


def draw(
    path: pathlib.Path, rows: list[Row], title: str, evaluated_on: str
) -> None:
    """Draws the rows of a run, one or more, as a PNG.

    Epsilon has a panel of its own where the run is private. `evaluated_on` is
    what `test_*` was computed on: "test" or "validation".
    """
    # Imported here because it is only needed once, at the end. The Agg canvas
    # needs no display; pyplot would keep global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    is_private = rows[-1]["epsilon"] is not None
    panels = ["accuracy", "loss"] + (["epsilon"] if is_private else [])
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
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
        axis.legend()
    figure.suptitle(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_atomically(path, buffer.getvalue())


def _plot(axis, rows: list[Row], key: str, label: str) -> None:
    points = [(r["round"], r[key]) for r in rows if r[key] is not None]
    if points:
        marker = "o" if len(points) <= 30 else None
        axis.plot(*zip(*points, strict=True), label=label, marker=marker, ms=3)
