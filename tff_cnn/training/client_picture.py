"""clients.png: how accuracies are distributed over clients, at a glance."""

from typing import TYPE_CHECKING

import numpy as np

from tff_cnn.core import pictures
from tff_cnn.training.client_table import MODELS, SHOWN_SETS, ClientTable
from tff_cnn.training.diagnostics import NOT_PRIVATE

if TYPE_CHECKING:  # It takes a moment, and is only needed at the end.
    from matplotlib.figure import Figure


def figure(table: ClientTable) -> "Figure":
    """For each set a histogram, and the share of clients up to an accuracy."""
    drawn = pictures.new(9.6, 0.4 + 3.4 * len(table.sets))
    axes = drawn.subplots(len(table.sets), 2, squeeze=False)
    # Where all do well, differences are still to be seen.
    lowest = min(
        (
            values.min()
            for values in table.distributions.values()
            if len(values)
        ),
        default=0.0,
    )
    lowest = min(0.9, np.floor(10 * lowest) / 10)
    for name, pair in zip(table.sets, axes, strict=True):
        _draw_set(table, name, *pair, lowest)
    title = f"Clients after round {table.round}"
    drawn.suptitle(title + (f" ({NOT_PRIVATE})" if table.is_private else ""))
    return drawn


def _draw_set(table: ClientTable, name: str, left, right, lowest) -> None:
    found = table.statistics[name]
    for number, (model, metrics) in enumerate(table.sets[name].items()):
        values = metrics.accuracy[metrics.examples > 0]
        if len(values):
            of = found[f"{model}accuracy"]["uniform"]
            label = (
                f"{MODELS[model]}: mean {of['mean']:.1%}, "
                f"worst 10 % {of['worst_decile']:.1%}"
            )
            left.hist(
                values,
                bins=np.linspace(lowest, 1, 21),
                histtype="stepfilled",
                facecolor=(f"C{number}", 0.25),
                edgecolor=f"C{number}",
                label=label,
            )
            _draw_shares(right, np.sort(values), of, f"C{number}", lowest)
    left.set(title=SHOWN_SETS[name], ylabel="clients")
    left.yaxis.get_major_locator().set_params(integer=True)
    # Room for what says which is which.
    left.set_ylim(top=left.get_ylim()[1] * (1.1 + 0.12 * len(found) / 2))
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize="small", loc="upper left")
    right.set(
        title="dots: deciles; -- mean; : mean of the worst 10 %",
        ylabel="share of clients up to it",
        ylim=(0, 1.02),
    )
    margin = 0.02 * (1 - lowest)
    for axis in (left, right):
        axis.set(
            xlabel="accuracy of a client", xlim=(lowest - margin, 1 + margin)
        )
        axis.grid(alpha=0.3)
        axis.title.set_fontsize("medium")


def _draw_shares(axis, ordered, found, color, lowest) -> None:
    """The share of clients up to each accuracy, and what sums it up."""
    shares = np.arange(1, len(ordered) + 1) / len(ordered)
    axis.step([lowest, *ordered, 1], [0, *shares, 1], where="post", color=color)
    axis.plot(found["deciles"], np.arange(1, 10) / 10, "o", color=color, ms=4)
    axis.axvline(found["mean"], color=color, ls="--", lw=1)
    axis.axvline(found["worst_decile"], color=color, ls=":", lw=1.5)
