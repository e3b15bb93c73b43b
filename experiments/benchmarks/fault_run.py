"""A training run to which something happens, and that tells what it shows.

  python -m experiments.benchmarks.fault_run PLAN.json

For `fault_kills`, which writes the plan: a JSON object with

  "flags"    of experiments.train
  "seen"     file to which is appended, round by round, whatever leaves the
             process, at the moment when it does: "round digest" a line
  "kind"     what happens: a signal's name, "disk full" or "other code" (and
             then SIGKILL); null is nothing
  "moment"   when: {"seconds": s} after the start, or {"sync": k, "early": b}
             at the k-th time that something is to be safe on the disk, before
             or after it is
"""

import errno
import json
import os
import pathlib
import runpy
import signal
import sys
import threading

from experiments import entry

_TRAIN = "experiments.train"


class Fault:
    """What is to happen, and whether it is time."""

    def __init__(self, kind: str | None, moment: dict):
        self._kind = kind
        self._moment = moment
        self._syncs = 0
        self._sync = os.fsync

    def arm(self) -> None:
        """Lets it happen at its moment."""
        if self._kind is None:
            return
        if "seconds" in self._moment:
            timer = threading.Timer(self._moment["seconds"], self._happen)
            timer.daemon = True
            timer.start()
        else:
            os.fsync = self._watched_sync

    def _watched_sync(self, descriptor: int) -> None:
        self._syncs += 1
        is_now = self._syncs == self._moment["sync"]
        if is_now and self._moment["early"]:
            self._happen()
        if self._syncs >= self._moment["sync"] and self._kind == "disk full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sync(descriptor)
        if is_now and not self._moment["early"]:
            self._happen()

    def _happen(self) -> None:
        if self._kind == "disk full":
            return
        name = "SIGKILL" if self._kind == "other code" else self._kind
        os.kill(os.getpid(), getattr(signal, name))


class Told:
    """An engine that tells what the clients of a round are sent."""

    def __init__(self, engine, tell, is_other_code: bool):
        self._engine = engine
        self._tell = tell
        self._is_other_code = is_other_code
        self.plan = engine.plan
        self.weights = engine.weights

    def step(self, state, work):
        """A step of the engine, after telling the weights it begins with."""
        self._tell(work.number - 1, self.weights(state))
        result = self._engine.step(state, work)
        if self._is_other_code:
            for weights in self.weights(result.state):
                weights += 1e-3
        return result


def _watch(seen: pathlib.Path, is_other_code: bool) -> None:
    """Lets runs of this process tell what they show."""
    from tff_cnn.core import weights
    from tff_cnn.training import loop

    descriptor = os.open(seen, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(round_num, trainable, shown=""):
        digest = weights.sha256(trainable)
        os.write(descriptor, f"{round_num} {digest[:16]} {shown}\n".encode())

    class Tell:
        def after_round(self, finished):
            shown = finished.row.get("dp_cohort_accuracy", "")
            tell(finished.number, finished.weights, shown)

    run_rounds = loop.run_rounds

    def watched(engine, state, rounds, hooks, releasing=()):
        told = Told(engine, tell, is_other_code)
        return run_rounds(told, state, rounds, [Tell(), *hooks], releasing)

    loop.run_rounds = watched


def main(argv: list[str]) -> None:
    """Runs `experiments.train` as the plan says."""
    del argv
    plan = json.loads(pathlib.Path(sys.argv[1]).read_text())
    fault = Fault(plan["kind"], plan["moment"])
    fault.arm()
    _watch(pathlib.Path(plan["seen"]), plan["kind"] == "other code")
    sys.argv = [_TRAIN, *plan["flags"]]
    runpy.run_module(_TRAIN, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    entry.run(main, parse=False)
