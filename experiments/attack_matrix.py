"""Attacks against aggregators, with and without noise: who stands what.

  python -m experiments.attack_matrix --out=runs/matrix
  python -m experiments.attack_matrix --flagfile=experiments/quickstart.flags \\
      --attacks=none,sign_flip,backdoor --aggregators=mean --dp=off,on

One run for each attack, aggregator and --dp, on one task, in one process. A
matrix that was interrupted goes on with the same command: what is done is read
from its run folder. A combination that is refused is shown as that, with the
reason. matrix.md, matrix.csv and matrix.png are in the folder, and all that
runs say in the *.log files beside theirs.

--dp is a list here, of off, on and mechanisms; on is the mechanism of the
flagfile, or else the first that there is, with --dp_epsilon=8 where no noise is
named. The other flags are those of a run. Without a flagfile it is of digits,
and a quarter of an hour: --num_clients=100 --clients_per_round=50 --rounds=30
--client_epochs=5 --client_learning_rate=0.2 --attack_fraction=0.2
--eval_every=0 --checkpoint_every=10.
"""

import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from experiments import (
    entry,
    flagfiles,
    help,
    matrix_cells,
    matrix_tables,
    outputs,
)
from experiments import flags as run_flags
from experiments.matrix_cells import OFF, ON, Plan
from tff_cnn.config import RunConfig
from tff_cnn.core import paths
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import check_value
from tff_cnn.privacy import MECHANISMS

_OWN_FLAGS = ("attacks", "aggregators", "out")
# Instead of which there are lists here.
_LISTS = {"attack": "attacks", "aggregator": "aggregators"}
_DEFAULTS = {
    "num_clients": 100,
    "clients_per_round": 50,
    "rounds": 30,
    "client_epochs": 5,
    "client_learning_rate": 0.2,
    "attack_fraction": 0.2,
    "eval_every": 0,
    "checkpoint_every": 10,
}
_EPSILON = 8.0
_FILES = ("matrix.md", "matrix.csv", "matrix.png")


def define_flags() -> None:
    """Defines the flags of `experiments.attack_matrix`."""
    run_flags.define()
    flags.DEFINE_string(
        "attacks",
        ",".join(matrix_cells.default_attacks()),
        "Attacks to make, none among them.",
    )
    flags.DEFINE_string(
        "aggregators",
        ",".join(matrix_cells.default_aggregators()),
        "Aggregators, or chains of them, to attack.",
    )
    flags.DEFINE_string(
        "out",
        os.path.join("runs", "attack_matrix"),
        "Folder of the matrix and its runs.",
    )


def plan_from_flags(argv: list[str]) -> Plan:
    """What the parsed flags ask for.

    Args:
      argv: As typed.

    Raises:
      UsageError: A flag that is wrong, or without effect in every cell.
    """
    typed = run_flags.typed_names(argv)
    for flag, instead in _LISTS.items():
        if flag in typed:
            raise UsageError(
                f"--{flag} would be ignored: a matrix has several; use "
                f"--{instead}."
            )
    has_flagfile = bool(flagfiles.named(argv[1:]))
    given = run_flags.given_flags({} if has_flagfile else _DEFAULTS)
    given = {flag: v for flag, v in given.items() if flag not in _LISTS}
    _check_values(given)
    levels, mechanism = _levels(given.pop("dp", None), "dp" in typed, argv)
    if not {"dp_epsilon", "dp_noise_multiplier"} & set(given):
        given["dp_epsilon"] = _EPSILON
    plan = matrix_cells.plan(
        given,
        flags.FLAGS.attacks.split(","),
        flags.FLAGS.aggregators.split(","),
        levels,
        mechanism,
    )
    unused = sorted((set(given) & typed) - plan.used)
    if unused:
        raise UsageError(
            f"--{unused[0]} would be ignored: it has no effect in any cell of "
            "the matrix; leave it out."
        )
    return plan


def _check_values(given: Mapping[str, Any]) -> None:
    """Raises `UsageError` for what no cell could have: it is a mistake."""
    for flag, value in given.items():
        leaf = RunConfig.leaves()[flag]
        if not leaf.is_choice:
            check_value(leaf.field, value, leaf.path)


def _levels(
    value: str | None, is_typed: bool, argv: Sequence[str]
) -> tuple[list[str], str]:
    """The levels of privacy, and the mechanism that "on" stands for."""
    named = [MECHANISMS.names[0]]
    for given in flagfiles.expand(argv[1:]):
        name, _, text = given.text.lstrip("-").partition("=")
        if name == "dp" and given.flagfile and text in MECHANISMS:
            named.append(text)
    if not is_typed or not value:
        return [OFF, ON], named[-1]
    levels = [OFF if part == "none" else part for part in value.split(",")]
    for level in levels:
        if level not in (OFF, ON, *MECHANISMS):
            raise UsageError(
                f"<dp>={value} has {level!r}: a matrix takes a list of {OFF}, "
                f"{ON} and mechanisms ({', '.join(MECHANISMS)})."
            )
    return levels, named[-1]


def main(argv: list[str]) -> None:
    """Runs what is not done, and writes the matrix; `argv` as typed."""
    plan = plan_from_flags(argv)
    folder = pathlib.Path(flags.FLAGS.out)
    paths.check_writable_folder(folder, "--out")
    for name in _FILES:
        outputs.check(str(folder / name), "--out")
    try:
        results = matrix_cells.run(plan, folder)
    except KeyboardInterrupt:
        print(
            "\nInterrupted; the same command continues there.", file=sys.stderr
        )
        sys.exit(130)
    _write(plan, results, folder)


def _write(plan: Plan, results: list[Any], folder: pathlib.Path) -> None:
    from experiments import matrix_picture  # It takes a moment.

    markdown = matrix_tables.markdown(plan, results)
    contents = (
        markdown.encode(),
        matrix_tables.csv_of(results).encode(),
        matrix_picture.draw(plan, results),
    )
    for name, content in zip(_FILES, contents, strict=True):
        outputs.write(str(folder / name), content)
    print(markdown)
    print(f"written to {folder}{os.sep}: {', '.join(_FILES)}")


def _show_help(topic: str | None, expanded: Sequence[Any]) -> str:
    """Help; --dp is a list here, which no run has."""
    expanded = [g for g in expanded if not g.text.lstrip("-").startswith("dp=")]
    return help.show(topic, expanded, __doc__, _OWN_FLAGS)


def run() -> None:
    """Defines the flags, and runs `main` on them."""
    define_flags()
    entry.run(main, show_help=_show_help)


if __name__ == "__main__":
    run()
