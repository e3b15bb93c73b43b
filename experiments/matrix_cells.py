"""The cells of an attack matrix: what they are, and their runs."""

import contextlib
import dataclasses
import itertools
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tqdm

import tff_cnn
from experiments import flags as run_flags
from tff_cnn import run as library
from tff_cnn.aggregators import AGGREGATORS, order
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.core.traits import ONLY_A_SUM
from tff_cnn.evaluation.attacks import ATTACKS

# Levels of privacy; others are mechanisms.
OFF, ON = "off", "on"
NO_ATTACK = "none"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One combination.

    Attributes:
      attack: Name, or `NO_ATTACK`.
      aggregator: Name, or a chain of them.
      level: `OFF`, `ON` or a mechanism.
      config: Resolved; None where the combination is refused.
      reason: Why it is.
    """

    attack: str
    aggregator: str
    level: str
    config: RunConfig | None
    reason: str | None = None

    @property
    def name(self) -> str:
        """Of its run folder."""
        text = f"{self.attack}-{self.aggregator}-{self.level}"
        return re.sub(r"[^\w.+-]", "-", text)


@dataclasses.dataclass(frozen=True)
class Plan:
    """All cells, and what they have in common.

    Attributes:
      attacks: Their names, in order.
      aggregators: The same.
      levels: The same.
      cells: By attack, aggregator and level; none is left out.
      used: The flags that have an effect in some cell.
    """

    attacks: tuple[str, ...]
    aggregators: tuple[str, ...]
    levels: tuple[str, ...]
    cells: tuple[Cell, ...]
    used: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a cell.

    Attributes:
      cell: Which; it may have been refused when it was built.
      summary: Of its run; None where it is refused.
    """

    cell: Cell
    summary: Mapping[str, Any] | None = None

    @property
    def accuracy(self) -> float | None:
        """Of the last round; None where the cell is refused."""
        return self.summary and self.summary["test_accuracy"]

    @property
    def success(self) -> tuple[str, float] | None:
        """What the attack was for, and its rate; None where it has none."""
        for name, value in (self.summary or {}).items():
            if name.startswith("test_") and name.endswith("_success"):
                return name.removeprefix("test_"), value
        return None


def default_attacks() -> tuple[str, ...]:
    """No attack, and all that there are."""
    return (NO_ATTACK, *ATTACKS)


def default_aggregators() -> tuple[str, ...]:
    """What a run has by default, and all that an attack may meet otherwise.

    These are bounds, and rules that are no sum; codecs change what is sent,
    and not what is made of it.
    """
    first = AGGREGATORS.name_of(RunConfig().aggregator)
    others = (
        entry.full_name
        for entry in AGGREGATORS.entries
        if order.stage_of(entry) == order.BOUND
        or (
            order.stage_of(entry) == order.RULE
            and ONLY_A_SUM not in entry.offers
        )
    )
    return tuple(dict.fromkeys((first, *others)))


def plan(
    given: Mapping[str, Any],
    attacks: Iterable[str],
    aggregators: Iterable[str],
    levels: Iterable[str],
    mechanism: str,
) -> Plan:
    """All cells.

    Args:
      given: What is known of the flags of all runs, by flag.
      attacks: Names; `NO_ATTACK` among them.
      aggregators: Names, or chains.
      levels: `OFF`, `ON` or mechanisms.
      mechanism: What `ON` is.

    Raises:
      UsageError: A name that is unknown, a list that is empty, or no
        combination that is not refused.
    """
    names = [
        _distinct("attacks", attacks),
        _distinct("aggregators", aggregators),
        _distinct("dp", levels),
    ]
    for attack in names[0]:
        if attack != NO_ATTACK:
            ATTACKS.options_of(attack, "attacks", [NO_ATTACK])
    for aggregator in names[1]:
        for part in aggregator.split("+"):
            AGGREGATORS.options_of(part, "aggregators")
    used: set[str] = set()
    cells = [
        _cell(given, *combination, mechanism, used)
        for combination in itertools.product(*names)
    ]
    if all(cell.config is None for cell in cells):
        raise UsageError(f"every cell is refused; the first: {cells[0].reason}")
    return Plan(*names, tuple(cells), frozenset(used))


def _distinct(flag: str, names: Iterable[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in names)
    if not names or "" in names or len(set(names)) < len(names):
        raise UsageError(
            f"--{flag}={','.join(names)} must be a list of different names."
        )
    return names


def _cell(given, attack, aggregator, level, mechanism, used) -> Cell:
    """A combination; flags that have an effect on it are added to `used`."""
    dp = {OFF: "none", ON: mechanism}.get(level, level)
    chosen = {"attack": attack, "aggregator": aggregator, "dp": dp}
    try:
        found = run_flags.with_effect({**given, **chosen})
        used |= set(found)
        config = run_flags.config_of(found)
    except UsageError as error:
        reason = error.told(run_flags.flag_of)
        return Cell(attack, aggregator, level, None, reason)
    return Cell(attack, aggregator, level, config)


def run(plan: Plan, folder: pathlib.Path) -> list[Result]:
    """Runs all cells that are not done, below one bar; one result a cell.

    Args:
      plan: Of the matrix.
      folder: Of the matrix.

    Raises:
      UsageError: The folder holds runs with other settings, or every cell is
        refused.
      FailedRunError: Something outside the program failed.
    """
    results = []
    with tqdm.tqdm(
        plan.cells, unit="cell", dynamic_ncols=True, leave=False
    ) as bar:
        for cell in bar:
            bar.set_description_str(cell.name)
            results.append(_result(cell, folder / "runs"))
    if all(result.summary is None for result in results):
        raise UsageError(
            f"every cell is refused; the first: {results[0].cell.reason}"
        )
    return results


def _result(cell: Cell, runs: pathlib.Path) -> Result:
    if cell.config is None:
        return Result(cell)
    folder = library.checked_folder(runs / cell.name)
    with _logged(runs / f"{cell.name}.log"):
        with folder.held():
            config = library.with_first_build(cell.config)
            _, finished = library.stand(config, folder)
        if finished is not None:
            return Result(cell, finished)
        try:
            found = tff_cnn.train(cell.config, folder.path)
        except UsageError as error:
            # Of a run that had begun, a mistake is not the combination's.
            if folder.holds_run():
                raise
            reason = error.told(run_flags.flag_of)
            refused = dataclasses.replace(cell, config=None, reason=reason)
            return Result(refused)
    return Result(cell, found.summary)


@contextlib.contextmanager
def _logged(path: pathlib.Path) -> Iterator[None]:
    """What is printed goes to a file, behind what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(path, "a", errors="backslashreplace") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield


def of(results: Sequence[Result], **names: str) -> list[Result]:
    """The results of cells with these names."""
    return [
        result
        for result in results
        if all(getattr(result.cell, n) == v for n, v in names.items())
    ]
