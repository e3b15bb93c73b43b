"""An attack matrix as one heat map: accuracy, and beside it success."""

from collections.abc import Sequence

import numpy as np

from experiments import matrix_cells, matrix_tables
from experiments.matrix_cells import Plan, Result
from tff_cnn.core import pictures

# Of a cell, in inches.
_WIDTH, _HEIGHT = 0.85, 0.45
_REFUSED = "0.85"


def draw(plan: Plan, results: Sequence[Result]) -> bytes:
    """The picture, as PNG: a row of panels for each level of privacy.

    Blue is good for who defends: a high accuracy, a low success. A cell that
    is refused is grey.
    """
    succeeding = [
        attack
        for attack in plan.attacks
        if any(r.success for r in matrix_cells.of(results, attack=attack))
    ]
    widths = [len(plan.attacks), *([len(succeeding)] if succeeding else [])]
    rows = len(plan.aggregators) * _HEIGHT + 1.7
    figure = pictures.new(
        max(6.5, sum(widths) * _WIDTH + 3.5), len(plan.levels) * rows + 0.4
    )
    panels = figure.subplots(
        len(plan.levels),
        len(widths),
        squeeze=False,
        gridspec_kw={"width_ratios": widths},
    )
    for row, level in zip(panels, plan.levels, strict=True):
        found = matrix_cells.of(results, level=level)
        title = f"accuracy, %\n{matrix_tables.title(level, found).lower()}"
        _panel(row[0], plan, found, plan.attacks, title, "RdYlBu", _accuracy)
        if succeeding:
            title = "success, %\nof the attack"
            _panel(row[1], plan, found, succeeding, title, "RdYlBu_r", _success)
            row[1].set_yticklabels([])
    return pictures.png(figure)


def _accuracy(result: Result) -> float | None:
    return result.accuracy


def _success(result: Result) -> float | None:
    return result.success and result.success[1]


def _panel(axis, plan, results, attacks, title, colours, rate_of) -> None:
    """One heat map, a row for each aggregator."""
    import matplotlib

    by_name = {(r.cell.aggregator, r.cell.attack): r for r in results}
    rates = np.full((len(plan.aggregators), len(attacks)), np.nan)
    for y, aggregator in enumerate(plan.aggregators):
        for x, attack in enumerate(attacks):
            result = by_name[aggregator, attack]
            rate = rate_of(result)
            shown = "refused" if result.summary is None else "-"
            if rate is not None:
                rates[y, x], shown = rate, f"{100 * rate:.1f}"
            axis.text(
                x,
                y,
                shown,
                ha="center",
                va="center",
                fontsize=9 if rate is not None else 7,
                color=_ink(rate),
            )
    colour_map = matplotlib.colormaps[colours].with_extremes(bad=_REFUSED)
    axis.imshow(rates, colour_map, vmin=0, vmax=1, aspect="auto")
    names = [name.replace("+", "+\n") for name in plan.aggregators]
    axis.set_xticks(range(len(attacks)), attacks, rotation=35, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set_title(title, fontsize="medium")
    axis.tick_params(length=0)
    # Lines between cells.
    axis.set_xticks(np.arange(len(attacks)) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(names)) - 0.5, minor=True)
    axis.grid(which="minor", color="white", lw=2)
    axis.tick_params(which="minor", length=0)
    axis.spines[:].set_visible(False)


def _ink(rate: float | None) -> str:
    """What can be read on a cell: both ends of the colours are dark."""
    if rate is None:
        return "0.35"
    return "white" if rate < 0.12 or rate > 0.9 else "black"
