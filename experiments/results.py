"""The table of recorded results, made from the records.

  python -m experiments.results

writes it into README.md, between two comments. A row is a baseline's flagfile
with what its runs changed of it, the seed apart: the median of their test
accuracies, or of the rounds to the accuracy that they were to reach, beside
what the paper reports.
"""

import json
import math
import pathlib
import re
import statistics
from collections.abc import Iterator
from typing import Any

from absl import flags

from experiments import entry
from experiments import flags as run_flags
from tff_cnn.config import RunConfig
from tff_cnn.core import paths
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import write_atomically

_ROOT = pathlib.Path(__file__).parents[1]
BASELINES = _ROOT / "experiments" / "baselines"
_BEGIN = "<!-- made by experiments.results -->\n"
_END = "<!-- until here -->\n"
_COLUMNS = (
    "flagfile in `experiments/baselines/`",
    "unit, epsilon, delta",
    "sampling",
    "published",
    "here",
)


def load(baselines: pathlib.Path = BASELINES) -> list[dict[str, Any]]:
    """All records under `<paper>/results/`, by paper, flagfile and seed."""
    records = [
        _read(path) for path in sorted(baselines.glob("*/results/*.json"))
    ]
    return sorted(records, key=lambda record: record["seed"])


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except ValueError:
        record = None
    if not (isinstance(record, dict) and {"baseline", "seed"} <= set(record)):
        raise UsageError(f"{path} is no record: remove or restore it.")
    return record


def changed_flags(
    record: dict[str, Any], baselines: pathlib.Path = BASELINES
) -> dict[str, Any]:
    """What a record's run had other than its flagfile says."""
    lines = (baselines / f"{record['baseline']}.flags").read_text()
    given = dict(re.findall(r"^--(\w+)=(\S+)$", lines, re.MULTILINE))
    keys = {leaf.flag: leaf.key for leaf in RunConfig.leaves().values()}
    recorded = {
        flag: record["flags"][keys[flag]]
        for flag in given
        # How fast a run is is not part of a record.
        if keys.get(flag) in record["flags"]
    }
    # Of what has no effect records have what stands for nothing.
    return {
        flag: value
        for flag, value in run_flags.with_effect(recorded).items()
        if not _same(value, given[flag])
    }


def _same(value: Any, text: str) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(text) == value
    return str(value).lower() == text.lower()


def table(baselines: pathlib.Path = BASELINES) -> str:
    """The table, in Markdown."""
    published = json.loads((baselines / "published.json").read_text())
    rows = {}
    for record in load(baselines):
        changed = changed_flags(record, baselines)
        rows.setdefault((record["baseline"], *changed.items()), []).append(
            record
        )
    lines = [_COLUMNS, ("---",) * len(_COLUMNS)]
    for (baseline, *changed), records in sorted(rows.items()):
        command = " ".join(
            [f"{baseline}.flags", *(f"--{n}={v}" for n, v in changed)]
        )
        lines.append(
            (
                f"`{command}`",
                _promise(records),
                _sampling(records[0]["flags"]),
                published.get(baseline, "-"),
                "; ".join([_reached(records), *_measured(records)]),
            )
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _promise(records: list[dict[str, Any]]) -> str:
    if not all(record["is_private"] for record in records):
        return "none"
    worst = max(records, key=lambda record: record["epsilon"])
    unit = worst["unit"]
    if unit == "client" and worst["flags"]["num_clients"]:
        unit += f" of {worst['flags']['num_clients']:,}"
    delta = f"{worst['delta']:.3g}".replace("e-0", "e-")
    return f"{unit}, {worst['epsilon']:.2f}, {delta}"


def _sampling(given: dict[str, Any]) -> str:
    if given["local_dp"] != "none":
        return "Poisson lots of examples"
    return f"`{given['sampling']}`"


def _reached(records: list[dict[str, Any]]) -> str:
    """The accuracy, or, of runs that had a target, after how many rounds."""
    target = records[0]["flags"].get("target_accuracy")
    if target is None:
        return _accuracy([record["test_accuracy"] for record in records])
    found = [r.get("rounds_to_target") or math.inf for r in records]
    shown = f"{target:.0%}".replace("%", " %")
    if statistics.median(found) == math.inf:
        best = _accuracy([record["test_accuracy"] for record in records])
        return f"not {shown} in {records[0]['rounds']} rounds: {best}"
    shown += f" after {statistics.median(found):g} rounds"
    if len(found) == 1:
        return f"{shown} (1 seed)"
    return f"{shown} ({min(found):g} to {max(found):g}, {len(found)} seeds)"


def _measured(records: list[dict[str, Any]]) -> Iterator[str]:
    """What the runs have measured besides; medians."""
    names = records[0].get("measured", {})
    for name in names:
        found = [record["measured"].get(name) for record in records]
        if name == "MB sent" or None in found:
            continue
        middle = statistics.median(found)
        if name.startswith(("simulated s", "times ")):
            yield f"{middle:,.1f} {name}"
        else:
            yield f"{name} {middle:.2%}".replace("%", " %")


def _accuracy(found: list[float]) -> str:
    shown = f"{statistics.median(found):.2%}"
    if len(found) == 1:
        shown += " (1 seed)"
    else:
        shown += f" ({min(found):.2%} to {max(found):.2%}, {len(found)} seeds)"
    return shown.replace("%", " %")


def replace_table(document: str, made: str, begin: str = _BEGIN) -> str:
    """A document with a table in the place of the one that it holds.

    Args:
      document: Markdown.
      made: The table.
      begin: The line before it.

    Raises:
      UsageError: It has no such place.
    """
    before, *rest = document.split(begin)
    if len(rest) != 1 or _END not in rest[0]:
        raise UsageError(
            f"the document must hold the line {begin.strip()} once and "
            f"{_END.strip()} after it: the table goes between them."
        )
    _, _, after = rest[0].partition(_END)
    return f"{before}{begin}\n{made}\n{_END}{after}"


def read_document(document: str, begin: str = _BEGIN) -> str:
    """The document at this path, which has a place for a table.

    Args:
      document: Path.
      begin: The line before the table.

    Raises:
      UsageError: There is no document, or no place for it.
    """
    path = pathlib.Path(document)
    if not path.is_file():
        raise UsageError(f"--document={path} is no file: name a document.")
    paths.check_writable_file(path, "--document")
    text = path.read_text()
    replace_table(text, "", begin)
    return text


def write_table(document: str, made: str, begin: str = _BEGIN) -> None:
    """Puts a table into the document at this path, and prints it.

    Raises:
      UsageError: See `read_document`.
    """
    text = replace_table(read_document(document, begin), made, begin)
    write_atomically(pathlib.Path(document), text.encode())
    print(made, end="")


def define_flags() -> None:
    """Defines the flags of `experiments.results`."""
    flags.DEFINE_string(
        "document", str(_ROOT / "README.md"), "Where the table goes."
    )


def main(argv: list[str]) -> None:
    """Writes the table into the document, and prints it."""
    del argv
    write_table(flags.FLAGS.document, table())


def run() -> None:
    """Defines the flags, and runs `main` on them."""
    define_flags()
    entry.run(main)


if __name__ == "__main__":
    run()
