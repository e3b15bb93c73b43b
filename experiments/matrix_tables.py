"""An attack matrix as Markdown and as CSV."""

import csv
import io
from collections.abc import Sequence

from experiments import matrix_cells
from experiments.matrix_cells import OFF, Plan, Result

_COLUMNS = (
    "attack",
    "aggregator",
    "dp",
    "accuracy",
    "success",
    "success_is",
    "epsilon",
    "delta",
    "rounds",
    "diverged_in_round",
    "clients_excluded",
    "refused_because",
)


def markdown(plan: Plan, results: Sequence[Result]) -> str:
    """A table for each level of privacy, and the reasons of what is refused."""
    reasons: list[str] = []
    lines = ["# Attacks against aggregators", "", _about(plan, results), ""]
    for level in plan.levels:
        found = matrix_cells.of(results, level=level)
        lines += [f"## {title(level, found)}", ""]
        lines += _rows(plan, found, reasons)
        lines.append("")
    if reasons:
        lines += ["Refused:", ""]
        lines += [f"{n}. {reason}" for n, reason in enumerate(reasons, 1)]
        lines.append("")
    return "\n".join(lines)


def title(level: str, results: Sequence[Result]) -> str:
    """What a level of privacy is, in words.

    Args:
      level: Of the matrix.
      results: Of this level.
    """
    if level == OFF:
        return "Without differential privacy"
    known = [r.summary for r in results if r.summary]
    if not known:
        return f"With differential privacy ({level})"
    epsilons = sorted({round(summary["epsilon"], 2) for summary in known})
    deltas = sorted({summary["delta"] for summary in known})
    shown = " to ".join(f"{e:.2f}" for e in {epsilons[0]: 0, epsilons[-1]: 0})
    return f"With epsilon {shown} at delta {deltas[-1]:.2g}"


def _about(plan: Plan, results: Sequence[Result]) -> str:
    """What all runs have in common."""
    config = next(c.config for c in plan.cells if c.config is not None)
    summary = next(r.summary for r in results if r.summary)
    names = {name: entry.name for name, _, entry in config.chosen()}
    attack = next(
        (c.config for c in plan.cells if c.config and c.config.attack), None
    )
    share = f"; {attack.attack_fraction:.0%} of them attack" if attack else ""
    return (
        f"Accuracy on the {summary['evaluated_on']} set after {config.rounds} "
        f"rounds, and in brackets how often an attack has its way: "
        f"{names['dataset']}, {names['model']}, {names['algorithm']}, "
        f"{config.clients_per_round} of {config.num_clients} clients a round"
        f"{share}; seed {config.seed}."
    )


def _rows(plan, results, reasons) -> list[str]:
    """Lines of a table; reasons that are new are added to `reasons`."""
    lines = [("aggregator", *plan.attacks), ("---",) * (1 + len(plan.attacks))]
    for aggregator in plan.aggregators:
        cells = matrix_cells.of(results, aggregator=aggregator)
        shown = [_shown(cell, reasons) for cell in cells]
        lines.append((f"`{aggregator}`", *shown))
    return [f"| {' | '.join(line)} |" for line in lines]


def _shown(result: Result, reasons: list[str]) -> str:
    if result.summary is None:
        if result.cell.reason not in reasons:
            reasons.append(result.cell.reason)
        return f"refused ({reasons.index(result.cell.reason) + 1})"
    text = percent(result.accuracy)
    if result.success is not None:
        text += f" ({percent(result.success[1])})"
    if result.summary["diverged_in_round"]:
        text += f", diverged in round {result.summary['diverged_in_round']}"
    return text


def percent(rate: float | None) -> str:
    """A rate with a tenth of a percent; "-" where it is no number."""
    return "-" if rate is None else f"{rate:.1%}".replace("%", " %")


def csv_of(results: Sequence[Result]) -> str:
    """A line for each cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for result in results:
        cell, summary = result.cell, result.summary or {}
        success = result.success or (None, None)
        writer.writerow(
            {
                "attack": cell.attack,
                "aggregator": cell.aggregator,
                "dp": cell.level,
                "accuracy": result.accuracy,
                "success_is": success[0],
                "success": success[1],
                "refused_because": cell.reason,
                **{n: summary.get(n) for n in _COLUMNS[6:-1]},
            }
        )
    return text.getvalue()
