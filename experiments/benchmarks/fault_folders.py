"""Damages a run's folder at random, and looks what programs make of it.

A private run is stopped half-way. Each trial takes a copy, damages one or two
of its files, and gives it to `experiments.train`, to finish it, or to
`experiments.privacy account`. They may refuse it, in one sentence and leaving
all files as they are, or go on; then a run that was finished is the same as if
nothing had been damaged, or one that counts all rounds of both. No stack trace,
no hang.
"""

import collections
import json
import os
import pathlib
import random
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tqdm

from experiments.benchmarks import forks
from tff_cnn.core.errors import FailedRunError, UsageError
from tff_cnn.training.releases import Releases
from tff_cnn.training.run_folder import RunFolder

_ROUNDS = 6
_FLAGS = (
    "--num_clients=16",
    "--clients_per_round=8",
    "--batch_size=20",
    "--dp=fixed_clip",
    "--dp_noise_multiplier=0.5",
    f"--rounds={_ROUNDS}",
    "--eval_every=0",
)
_STOP = {"sync": 3 + 4 * 3, "early": False}
_FILES = (
    "config.json",
    "metrics.jsonl",
    "ledger.jsonl",
    "secret.key",
    "checkpoints",
    "summary.json",
)
_TIMEOUT = 240.0
_HEAVY = ("tensorflow", "tensorflow_federated")
_VALUES = (None, True, -1, 0, 1e300, "", "x", [], {}, [[]], {"a": 1}, "NaN")
Damage = Callable[[random.Random, pathlib.Path], None]


def _cut(rng: random.Random, path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: rng.randint(0, path.stat().st_size)])


def _flip(rng: random.Random, path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 10))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _delete(rng: random.Random, path: pathlib.Path) -> None:
    del rng
    path.unlink()


def _replace(rng: random.Random, path: pathlib.Path) -> None:
    words = (b"", b"\n", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000)
    path.write_bytes(rng.choice([*words, rng.randbytes(300), b"\0" * 4096]))


def _other_kind(rng: random.Random, path: pathlib.Path) -> None:
    path.unlink()
    if rng.random() < 0.5:
        path.mkdir()
    else:
        path.symlink_to(rng.choice((path.name, "nowhere")))


def _lines(rng: random.Random, path: pathlib.Path) -> None:
    """Drops, doubles, exchanges or inserts lines."""
    lines = path.read_bytes().splitlines(keepends=True)
    place = rng.randrange(len(lines))
    change = rng.randrange(4)
    if change == 0:
        del lines[place]
    elif change == 1:
        lines.insert(place, lines[rng.randrange(len(lines))])
    elif change == 2:
        rng.shuffle(lines)
    else:
        lines.insert(place, rng.choice((b"{}\n", b"garbage\n", b"\n", b"3\n")))
    path.write_bytes(b"".join(lines))


def _edit(rng: random.Random, path: pathlib.Path) -> None:
    """Changes, adds or drops values of JSON, wherever they are."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else []
    place = rng.randrange(len(lines)) if lines else 0
    content = json.loads(lines[place] if lines else path.read_text())
    where = content
    while True:
        key = rng.choice(sorted(where))
        if not (isinstance(where[key], dict) and where[key]):
            break
        if rng.random() < 0.2:
            break
        where = where[key]
    if rng.random() < 0.3:
        del where[key]
    else:
        where[key] = rng.choice(_VALUES)
    text = json.dumps(content)
    if lines:
        lines[place] = text
        text = "\n".join(lines) + "\n"
    path.write_text(text)


_OF_ALL = (_cut, _flip, _delete, _replace, _other_kind)
_OF_TEXT = (*_OF_ALL, _lines, _edit, _edit)


def damage(rng: random.Random, folder: pathlib.Path) -> str:
    """Damages one file, and says what was done."""
    name = rng.choice([n for n in _FILES if os.path.lexists(folder / n)])
    path = folder / name
    if path.is_dir() and not path.is_symlink():
        files = sorted(path.iterdir())
        if not files or rng.random() < 0.1:
            shutil.rmtree(path)
            return f"{name} removed"
        path = rng.choice(files)
    if not path.is_file() or not path.stat().st_size:
        return f"{path.name} as it is"
    is_text = path.suffix in (".json", ".jsonl")
    how = rng.choice(_OF_TEXT if is_text else _OF_ALL)
    try:
        how(rng, path)
    except (ValueError, TypeError, LookupError):
        return f"{path.name} as it is"  # Damaged too much to be edited.
    return f"{path.name}{how.__name__.replace('_', ' ')}"


def contents(folder: pathlib.Path) -> dict[str, str | bytes]:
    """What is in a folder, the lock aside."""
    found: dict[str, str | bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else "folder"
    found.pop(".lock", None)
    return found


class Trials:
    """Trials on copies of one run.

    Attributes:
      folder: Holds the run half-way, `half`, and finished, `whole`.
    """

    def __init__(self, folder: pathlib.Path, server: forks.ForkServer):
        self.folder = folder
        half, whole = folder / "half", folder / "whole"
        plan = {
            "flags": [f"--run_dir={half}", *_FLAGS],
            "seen": str(folder / "seen"),
            "kind": "SIGKILL",
            "moment": _STOP,
        }
        path = folder / "plan.json"
        path.write_text(json.dumps(plan))
        command = ["experiments.benchmarks.fault_run", str(path)]
        server.run(command, folder, _TIMEOUT)
        (half / ".lock").unlink(missing_ok=True)
        shutil.copytree(half, whole)
        ended = _train(server, whole)
        if ended["status"] != 0 or not RunFolder(half).checkpoint_rounds():
            raise FailedRunError(f"the run itself failed: {ended['err']}")
        self._half = RunFolder(half)
        self._whole = RunFolder(whole)

    def run(self, number: int, seed: int, server: forks.ForkServer) -> dict:
        """Damages a copy, and says how a program took it."""
        rng = random.Random(f"{seed} {number}")
        run_dir = self.folder / f"copy-{number}"
        is_finished = rng.random() < 0.3
        source = self._whole if is_finished else self._half
        shutil.copytree(source.path, run_dir, symlinks=True)
        done = [damage(rng, run_dir) for _ in range(rng.choice((1, 1, 2)))]
        before = contents(run_dir)
        is_account = rng.random() < 0.3
        if is_account:
            command = ["experiments.privacy", "account"]
            command += [f"--run_dir={run_dir}"]
            ended = server.run(command, self.folder, _TIMEOUT)
        else:
            ended = _train(server, run_dir)
        after = contents(run_dir)
        why = self._judge(run_dir, ended, before, after, is_account)
        shutil.rmtree(run_dir)
        return {
            "number": number,
            "damage": ", ".join(done),
            "program": "account" if is_account else "train",
            "status": ended["status"],
            "why": why,
            "stderr": ended["err"][-2000:] if why else "",
        }

    def _judge(self, run_dir, ended, before, after, is_account) -> str | None:
        status, err = ended["status"], ended["err"]
        if status is None:
            return "hang"
        if "Traceback" in err or status not in (0, 1, 2):
            return f"status {status}"
        if status:
            if not err.splitlines()[-1].startswith("error: "):
                return "no sentence"
            # A failure from outside may come when something is written.
            if status == 2 and after != before:
                return "changed what it refused"
            return None
        if is_account:
            return "changed by account" if after != before else None
        if after == before and "This run is complete" in ended["out"]:
            return None  # Shown from its summary; nothing was trained.
        return self._judge_finished(RunFolder(run_dir))

    def _judge_finished(self, folder: RunFolder) -> str | None:
        """What is wrong with a run that says it is finished; None: nothing."""
        try:
            released = Releases(folder.ledger).history.released
        except UsageError:
            return "finished with a damaged ledger"
        known = Releases(self._half.ledger).history.released
        if released < known:
            return f"{released} rounds counted, {known} released"
        expected = self._whole.read_summary()
        try:
            summary = folder.read_summary()
        except UsageError:
            return "finished with a damaged summary"
        if summary["privacy"].get("rounds_repeated"):
            return None  # A branch of its own.
        for name in ("weights_sha256", "epsilon", "rounds"):
            if summary.get(name) != expected[name]:
                return f"{name} differs"
        return None


def _train(server: forks.ForkServer, run_dir: pathlib.Path) -> dict:
    command = ["experiments.train", f"--run_dir={run_dir}", *_FLAGS]
    return server.run(command, run_dir.parent, _TIMEOUT)


def campaign(count: int, seed: int = 0, jobs: int = 2) -> dict[str, Any]:
    """Runs `count` trials.

    Args:
      count: Damaged folders.
      seed: Of the damage.
      jobs: Trials at a time.

    Returns:
      "endings": "program, status" -> how often; "went_wrong": what did.
    """
    bar = tqdm.tqdm(total=count, unit="folder")
    with tempfile.TemporaryDirectory() as name, bar:
        with forks.ForkServer(_HEAVY) as server:
            trials = Trials(pathlib.Path(name), server)

        def work(numbers: range) -> list[dict]:
            results = []
            with forks.ForkServer(_HEAVY) as server:
                for number in numbers:
                    results.append(trials.run(number, seed, server))
                    bar.update()
            return results

        with ThreadPoolExecutor(jobs) as pool:
            parts = pool.map(work, [range(i, count, jobs) for i in range(jobs)])
            results = [result for part in parts for result in part]
    endings = collections.Counter(
        f"{result['program']}, status {result['status']}" for result in results
    )
    return {
        "endings": dict(endings),
        "went_wrong": [result for result in results if result["why"]],
    }
