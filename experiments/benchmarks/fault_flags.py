"""Gives `experiments.train` random flags, and looks how it takes them.

  python -m experiments.benchmarks.fault_flags --count=2000 --json=out.json

Values are drawn from the flags' own definitions: defaults, words of their help,
ends of their ranges, and what is absurd for all of them; some stand in
flagfiles, of which some are none. Every set is first checked without
TensorFlow; of those that are accepted a sample is trained, one round on digits.
No set may end in a stack trace, hang, leave something behind where it was
refused, or change a finished run's folder.
"""

import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import tqdm
from absl import flags

from experiments import entry, outputs
from experiments import flags as run_flags
from experiments.benchmarks import forks
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import FailedRunError
from tff_cnn.privacy import STAGES

_ROOT = pathlib.Path(__file__).parents[2]
_LIST = """
import json
from absl import flags
from experiments import train
before = set(flags.FLAGS)
train.define_flags()
found = [flags.FLAGS[name] for name in set(flags.FLAGS) - before]
found.sort(key=lambda flag: flag.name)
names = "name", "default", "help", "boolean"
print(json.dumps([{n: getattr(f, n) for n in names} for f in found]))
"""
_TRAIN = "experiments.train"
_LIGHT = ("experiments.help", "experiments.records", "dp_accounting")
_HEAVY = ("tensorflow", "tensorflow_federated")
_CHECK_SECONDS = 10.0
_TRAIN_SECONDS = 180.0
# Checking flags needs no more, and the machine is to survive what does.
_CHECK_BYTES = 8 * 2**30
_STATUSES = (0, 1, 2, 130)

_ABSURD = (
    *("", " ", "x", "-", "--", "nan", "-nan", "inf", "-inf", "-0", "-1", "0"),
    *("1e300", "1e-300", "1e-320", "1e9", "1.5", "0x10", "1_000", "None"),
    *("9223372036854775807", "9223372036854775808", "1000000000000", "9" * 400),
    *("r\u00e9sum\u00e9", "\u0663", "a,b", "true", "../..", "\x1b[1m", "a\nb"),
)
# Flags whose values are places; where they lead is decided by `_Places`.
_PLACE_FLAGS = ("run_dir", "record", "data_dir")
# What keeps a set that is accepted from training for long.
_BOUNDS = {
    "dataset": "digits",
    "rounds": 1,
    "num_clients": 40,
    "clients_per_round": 20,
    "client_epochs": 1,
    "batch_size": 20,
    "eval_every": 1,
    "runtime": "in_process",
}


class _Places:
    """Paths of all kinds below a folder, one of them a finished run's."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.run = root / "run"
        (root / "file").write_text("precious")
        (root / "other").mkdir()
        (root / "other" / "thesis.tex").write_text("precious")
        (root / "empty").mkdir()
        (root / "dangling").symlink_to(root / "missing")
        (root / "loop").symlink_to(root / "loop")
        (root / "flagfile").write_text("--rounds=3\n")

    def draw(self, rng: random.Random) -> str:
        names = ("run", "run", "file", "other", "empty", "dangling", "loop")
        return rng.choice(
            [
                *(str(self.root / name) for name in names),
                *(str(self.root / name / "x") for name in names[1:]),
                str(self.root / "new" / "run"),
                str(self.root / "new.json"),
                str(self.root / ("x" * 300)),
                "/proc/x",
                "/dev/null",
            ]
        )

    def tidy(self, before: dict[str, str]) -> None:
        """Removes the lock of a program that was ended when it would train."""
        for path in self.root.rglob(".lock"):
            path.unlink()
        for name in sorted(self.content().keys() - before.keys(), reverse=True):
            with contextlib.suppress(OSError):
                (self.root / name).rmdir()  # Only what is empty.

    def content(self) -> dict[str, str]:
        """Path -> digest or target, of everything below the root."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                found[name] = os.readlink(path)
            elif path.is_file():
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[name] = "folder"
        return found


@dataclasses.dataclass(frozen=True)
class _Flag:
    """What a flag of `experiments.train` says of itself."""

    name: str
    default: Any
    help: str
    boolean: bool


class FlagSets:
    """A random stream of command lines for `experiments.train`."""

    def __init__(self, seed: int, places: _Places):
        self._rng = random.Random(seed)
        self._places = places
        self._flags = _flags_of_train()
        self._files = 0

    def __iter__(self) -> Iterator[list[str]]:
        while True:
            yield self._draw()

    def _draw(self) -> list[str]:
        rng = self._rng
        chosen = self._start()
        for name in rng.sample(sorted(self._flags), rng.randint(0, 5)):
            chosen[name] = self._value(self._flags[name])
        chosen.setdefault("run_dir", str(self._places.root / "new" / "run"))
        arguments = [self._argument(*item) for item in chosen.items()]
        rng.shuffle(arguments)
        if rng.random() < 0.2:
            cut = rng.randint(0, len(arguments))
            arguments[:cut] = [self._flagfile(arguments[:cut])]
        if rng.random() < 0.05:
            arguments.append(rng.choice([*_ABSURD, *arguments]))
        # What no program can be given.
        return [text.replace("\0", "") for text in arguments]

    def _start(self) -> dict[str, str]:
        """Half of the sets begin with a stage of noise that is right."""
        rng = self._rng
        if rng.random() < 0.5:
            return {}
        stage = rng.choice(STAGES)
        budget = rng.choice(("noise_multiplier", "epsilon"))
        return {
            stage.choice: rng.choice(stage.registry.names),
            run_flags.flag_of(f"{stage.choice}.{budget}")[2:]: "1",
        }

    def _value(self, flag: _Flag) -> str:
        rng = self._rng
        kind = rng.random()
        if flag.name in _PLACE_FLAGS and kind < 0.8:
            return self._places.draw(rng)
        if kind < 0.15:
            return rng.choice(_ABSURD)
        leaf = RunConfig.leaves().get(flag.name)
        allowed = getattr(leaf and leaf.known, "range", None)
        if allowed is None:
            words = re.findall(r"[a-z][a-z_0-9]+", flag.help)
            return rng.choice([*words, str(flag.default)])
        if kind < 0.4:
            step = rng.choice((-1, 0, 1))
            end = rng.choice((allowed.lowest, allowed.highest))
            return str(end + step)
        if isinstance(allowed.lowest, int):
            return str(rng.choice((1, 2, 3, 10, 20, 100, flag.default)))
        return str(rng.choice((1e-3, 0.1, 0.5, 0.9, 1.0, 3.0, flag.default)))

    def _argument(self, name: str, value: str) -> str:
        flag = self._flags[name]
        if flag.boolean and self._rng.random() < 0.8:
            return f"--{self._rng.choice(('', 'no'))}{name}"
        return f"--{name}={value}"

    def _flagfile(self, lines: list[str]) -> str:
        rng = self._rng
        self._files += 1
        path = self._places.root / f"{self._files}.flags"
        content = "\n".join(lines).encode()
        kind = rng.randrange(8)
        if kind == 0:
            content = "\n".join(lines).encode("utf-16")
        elif kind == 1:
            content = rng.randbytes(rng.randint(0, 200))
        elif kind == 2:
            content += f"\n--flagfile={path}\n".encode()
        elif kind == 3:
            path = self._places.root / "empty"
            return f"--flagfile={path}"
        path.write_bytes(content)
        return f"--flagfile={path}"


def _flags_of_train() -> dict[str, _Flag]:
    """By name; from a process of its own, as flags belong to a process."""
    listed = subprocess.run(
        [sys.executable, "-c", _LIST],
        check=True,
        capture_output=True,
        text=True,
        cwd=_ROOT,
    )
    found = [_Flag(**fields) for fields in json.loads(listed.stdout)]
    return {flag.name: flag for flag in found}


def bounded(arguments: list[str]) -> list[str]:
    """A set of flags changed so that there is little to train."""
    kept = [
        text
        for text in arguments
        if text.lstrip("-").partition("=")[0] not in _BOUNDS
    ]
    return [*kept, *(f"--{name}={value}" for name, value in _BOUNDS.items())]


def campaign(count: int, seed: int = 0, trained: int = 30) -> dict[str, Any]:
    """Tries random sets of flags.

    Args:
      count: Sets that are checked.
      seed: Of the sets.
      trained: At most so many of those that are accepted are also trained.

    Returns:
      "checked" and "trained": ending -> how often; "offenders": command, why,
      status and error output of each set that went wrong.

    Raises:
      FailedRunError: The run that the sets are let loose on failed itself.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        forks.ForkServer(_HEAVY) as server,
    ):
        places = _Places(pathlib.Path(folder))
        command = [*bounded([]), f"--run_dir={places.run}"]
        result = _train(server, command, places)
        if result["status"] != 0:
            raise FailedRunError(f"{command} failed: {result['err']}")
        sets = iter(FlagSets(seed, places))
        tried = [next(sets) for _ in range(count)]
        checked, accepted, offenders = _check_all(tried, places)
        chosen = random.Random(seed).sample(
            accepted, min(trained, len(accepted))
        )
        endings = _train_all(server, chosen, places, offenders)
    return {
        "sets": count,
        "seed": seed,
        "checked": dict(checked),
        "trained": dict(endings),
        "offenders": offenders,
    }


def _check_all(tried, places):
    """Endings, the sets that are accepted, and the offenders."""
    endings, accepted, offenders = collections.Counter(), [], []
    before = places.content()
    with forks.ForkServer(_LIGHT, withheld=_HEAVY) as server:
        for arguments in tqdm.tqdm(tried, unit="set"):
            result = server.run(
                [_TRAIN, *arguments], places.root, _CHECK_SECONDS, _CHECK_BYTES
            )
            if result["status"] == forks.WANTED:
                places.tidy(before)
            after = places.content()
            why = _fault_of_ending(result, strict=True)
            if after != before:
                why, before = f"changed {_difference(before, after)}", after
            endings[_name_of(result)] += 1
            if why:
                offenders.append(_offender(arguments, why, result))
            elif result["status"] == forks.WANTED:
                accepted.append(arguments)
    return endings, accepted, offenders


def _train_all(server, chosen, places, offenders):
    """Endings; appends to the offenders."""
    endings = collections.Counter()
    good = {k: v for k, v in places.content().items() if k.startswith("run/")}
    new = str(places.root / "new")
    for number, arguments in enumerate(tqdm.tqdm(chosen, unit="run")):
        # Each has a folder of its own where it names none.
        arguments = [
            text.replace(new, f"{new}-{number}") for text in bounded(arguments)
        ]
        before = places.content()
        result = _train(server, arguments, places)
        after = places.content()
        why = _fault_of_ending(result, strict=False)
        if result["status"] == 2 and after != before:
            why = f"changed {_difference(before, after)}"
        if any(after.get(name) != value for name, value in good.items()):
            why = "changed the good run"
        endings[_name_of(result)] += 1
        if why:
            offenders.append(_offender(arguments, why, result))
    return endings


def _train(server, arguments, places) -> dict:
    return server.run([_TRAIN, *arguments], places.root, _TRAIN_SECONDS)


def _fault_of_ending(result: dict, strict: bool) -> str | None:
    """What is wrong with how a command ended.

    Args:
      result: Of `ForkServer.run`.
      strict: Nothing else than the sentence may be written to standard error.
    """
    status, err = result["status"], result["err"]
    if status is None:
        return "hang"
    if "Traceback" in err or "Traceback" in result["out"]:
        return "stack trace"
    if status in (0, forks.WANTED):
        return None
    if status not in _STATUSES:
        return f"status {status}"
    lines = err.splitlines()
    if not lines or not lines[-1].startswith("error: "):
        return "no sentence"
    if strict and len(lines) != 1:
        return f"{len(lines)} lines"
    return None


def _name_of(result: dict) -> str:
    status = result["status"]
    if status == forks.WANTED:
        return "accepted"
    return "hang" if status is None else f"status {status}"


def _difference(before: dict, after: dict) -> str:
    names = before.keys() | after.keys()
    changed = sorted(n for n in names if before.get(n) != after.get(n))
    return ", ".join(changed[:5])


def _offender(arguments, why, result) -> dict[str, Any]:
    return {
        "command": shlex.join(arguments),
        "why": why,
        "status": result["status"],
        "stderr": result["err"][-2000:],
    }


def define_flags() -> None:
    """Defines the flags of `experiments.benchmarks.fault_flags`."""
    flags.DEFINE_integer("count", 2000, "Sets that are checked.", 1, 10**6)
    flags.DEFINE_integer("seed", 0, "Of the sets.", 0)
    flags.DEFINE_integer("trained", 30, "Sets that are trained.", 0, 10**4)
    flags.DEFINE_string("json", None, "File for the figures.")


def main(argv: list[str]) -> None:
    """Runs the campaign and prints a table; status 1 where a set went wrong."""
    del argv
    values = flags.FLAGS
    outputs.check(values.json, "--json")
    found = campaign(values.count, values.seed, values.trained)
    outputs.write_json(values.json, found)
    for stage in ("checked", "trained"):
        for ending, number in sorted(found[stage].items()):
            print(f"{stage:<10}{ending:<12}{number:>7,}")
    for offender in found["offenders"]:
        print(f"\n{offender['why']}: {offender['command']}")
        print(f"  {offender['stderr'].strip()}")
    if found["offenders"]:
        raise FailedRunError(f"{len(found['offenders'])} sets went wrong.")


if __name__ == "__main__":
    define_flags()
    entry.run(main)
