"""The campaign of faults: kills, damaged folders, random flags.

  python -m experiments.benchmarks.faults --json=out.json
  python -m experiments.benchmarks.faults --kills=20 --folders=50 --sets=200

`fault_kills`, `fault_folders` and `fault_flags` say what each part does and
what it holds against a run. Status 1 where anything went wrong.
"""

from absl import flags

from experiments import entry, outputs
from experiments.benchmarks import fault_flags, fault_folders, fault_kills
from tff_cnn.core.errors import FailedRunError


def define_flags() -> None:
    """Defines the flags of `experiments.benchmarks.faults`."""
    flags.DEFINE_integer("kills", 200, "Faults of running runs.", 0, 10**6)
    flags.DEFINE_integer("folders", 500, "Damaged folders.", 0, 10**6)
    flags.DEFINE_integer("sets", 2000, "Random sets of flags.", 0, 10**6)
    flags.DEFINE_integer("trained", 30, "Sets that are trained.", 0, 10**4)
    flags.DEFINE_integer("seed", 0, "Of all that is random.", 0)
    flags.DEFINE_integer("jobs", 2, "Programs at a time.", 1, 256)
    flags.DEFINE_string("json", None, "File for the figures.")


def main(argv: list[str]) -> None:
    """Runs the parts that have a number, and prints what came of them."""
    del argv
    values = flags.FLAGS
    outputs.check(values.json, "--json")
    seed, jobs, found = values.seed, values.jobs, {}
    if values.kills:
        found["kills"] = fault_kills.campaign(values.kills, seed, jobs)
        print(_table(found["kills"]["runs"]))
    if values.folders:
        found["folders"] = fault_folders.campaign(values.folders, seed, jobs)
        print(_list(found["folders"]["endings"]))
    if values.sets:
        tried = fault_flags.campaign(values.sets, seed, values.trained)
        found["flags"] = {"went_wrong": tried.pop("offenders"), **tried}
        for stage in ("checked", "trained"):
            print(f"{stage}:\n{_list(tried[stage])}")
    outputs.write_json(values.json, found)
    wrong = [w for part in found.values() for w in part["went_wrong"]]
    for offender in wrong:
        print(f"\n{offender}")
    if wrong:
        raise FailedRunError(f"{len(wrong)} trials went wrong.")


def _table(runs: dict[str, dict[str, int]]) -> str:
    """Figures of the kills, a line a run, as Markdown."""
    columns = ("trials", *fault_kills.KINDS, "exact", "repeated")
    lines = [("run", *columns), ("---",) * (1 + len(columns))]
    lines += [
        (name, *(counts.get(column, 0) for column in columns))
        for name, counts in runs.items()
    ]
    totals = [
        sum(counts.get(column, 0) for counts in runs.values())
        for column in columns
    ]
    lines.append(("all", *totals))
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _list(endings: dict[str, int]) -> str:
    lines = [f"{name:<24}{n:>7,}" for name, n in sorted(endings.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    define_flags()
    entry.run(main)
