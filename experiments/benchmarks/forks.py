"""Runs commands as forks of a process that has imported what they need.

A server is a process of its own, so that whoever asks it may have threads. It
reads one request a line and answers with one line, both JSON.
"""

import importlib
import json
import os
import pathlib
import resource
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

# Status of a command that asked for a module that it was not to have.
WANTED = 99
_SERVE = "from experiments.benchmarks import forks; forks.serve()"
_ROOT = pathlib.Path(__file__).parents[2]
_MOST_SHOWN = 20_000


class ForkServer:
    """Context manager; `run` gives a command to the server.

    Attributes:
      preload: Modules that the server imports.
      withheld: Top-level modules whose import ends a command with `WANTED`.
    """

    def __init__(self, preload: Sequence[str], withheld: Sequence[str] = ()):
        self.preload = tuple(preload)
        self.withheld = tuple(withheld)

    def __enter__(self) -> "ForkServer":
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Commands change their working directory.
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        self._ask({"preload": self.preload})
        return self

    def __exit__(self, *unused) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(
        self,
        command: Sequence[str],
        cwd: str | os.PathLike,
        timeout: float,
        memory: int | None = None,
    ) -> dict:
        """Runs `python -m` with a command in a fork.

        Args:
          command: Module and arguments.
          cwd: Working directory.
          timeout: Seconds after which it is killed.
          memory: Limit on its address space, in bytes.

        Returns:
          "status" (None: killed after the time), "out" and "err".
        """
        return self._ask(
            {
                "command": list(command),
                "cwd": str(cwd),
                "timeout": timeout,
                "memory": memory,
                "withheld": self.withheld,
            }
        )

    def _ask(self, request: dict) -> dict:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve() -> None:
    """Answers requests until there are no more."""
    # What modules print while they are imported is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        if "preload" in request:
            for name in request["preload"]:
                importlib.import_module(name)
            answer = {}
        else:
            answer = _answer(request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(request: dict) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        out, err = pathlib.Path(folder, "out"), pathlib.Path(folder, "err")
        pid = os.fork()
        if not pid:
            _become(request, out, err)
        status = _wait(pid, request["timeout"])
        return {
            "status": status,
            "out": out.read_text(errors="replace")[-_MOST_SHOWN:],
            "err": err.read_text(errors="replace")[-_MOST_SHOWN:],
        }


def _wait(pid: int, timeout: float) -> int | None:
    """A child's status; None for one that had to be killed."""
    descriptor = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([descriptor], [], [], timeout)
    finally:
        os.close(descriptor)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if ended else None


def _become(request: dict, out: pathlib.Path, err: pathlib.Path) -> None:
    """Turns a fork into the command. Never returns."""
    for path, descriptor, mode in (
        (os.devnull, 0, os.O_RDONLY),
        (out, 1, os.O_WRONLY | os.O_CREAT),
        (err, 2, os.O_WRONLY | os.O_CREAT),
    ):
        file = os.open(path, mode)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, closefd=False)
        for number, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    status = 70
    try:
        os.chdir(request["cwd"])
        if request["memory"]:
            limit = request["memory"]
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        sys.meta_path.insert(0, _Withheld(request["withheld"]))
        sys.argv = request["command"]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as exited:
        status = exited.code if isinstance(exited.code, int) else 1
        status = 0 if exited.code is None else status
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Withheld:
    """An import hook that ends the process at certain modules."""

    def __init__(self, names: Sequence[str]):
        self._names = set(names)

    def find_spec(self, name, path=None, target=None):
        if name in self._names:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(WANTED)
