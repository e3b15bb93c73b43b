"""Starts programs as forks of a process that has imported TensorFlow and TFF.

For what needs a process of its own, to be signalled, killed, watched or to
break something, but no imports of its own: these take four seconds. A fork is
put in the state of a new process: its streams, arguments, environment and
folder are its own, and it ends as any Python does.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pathlib
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

ROOT = pathlib.Path(__file__).parents[1]
_SERVE = "from tests import forked; forked.serve()"
_PRELOADED = ("tensorflow", "tensorflow_federated")
_server: "_Server | None" = None


def start(
    *command: object,
    cwd: str | os.PathLike = ROOT,
    env: Mapping[str, str] | None = None,
) -> "Program":
    """Starts `python *command`: "-m" and a module or "-c" and a text."""
    global _server
    if _server is None:
        _server = _Server()
    return Program(_server, list(map(str, command)), cwd, env)


def close() -> None:
    """Ends the process that is forked."""
    global _server
    if _server is not None:
        _server.close()
        _server = None


atexit.register(close)


class Program:
    """A program that runs, with the interface of `subprocess.Popen`.

    Attributes:
      pid: Of the process.
      returncode: None until `wait` or `communicate` has seen its end.
    """

    def __init__(self, server, command, cwd, env):
        self._server = server
        self._folder = tempfile.TemporaryDirectory()
        self._paths = {
            name: pathlib.Path(self._folder.name, name)
            for name in ("in", "out", "err")
        }
        self._paths["out"].touch()
        self._paths["err"].touch()
        os.mkfifo(self._paths["in"])
        # For both ends, so that opening it never waits.
        self._input = os.open(self._paths["in"], os.O_RDWR)
        self.returncode: int | None = None
        self.pid = server.ask(
            {
                "command": command,
                "cwd": str(cwd),
                "env": dict(os.environ if env is None else env),
                **{name: str(path) for name, path in self._paths.items()},
            }
        )

    def write(self, text: str) -> None:
        """Gives it standard input."""
        os.write(self._input, text.encode())

    def first_line(self, timeout: float = 60.0) -> str:
        """The first line of its standard output, once it is there."""
        deadline = time.monotonic() + timeout
        while "\n" not in (text := self._paths["out"].read_text()):
            assert time.monotonic() < deadline, "no line was written"
            time.sleep(0.01)
        return text.partition("\n")[0] + "\n"

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = 60.0) -> int:
        """Its status, negative for a signal, once it has ended.

        Raises:
          subprocess.TimeoutExpired: It goes on.
        """
        if self.returncode is None:
            self.returncode = self._server.ask(
                {"wait": self.pid, "timeout": timeout}
            )
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self.returncode

    def communicate(self, timeout: float = 60.0) -> tuple[str, str]:
        """Waits, and returns all that it has written."""
        self.wait(timeout)
        os.close(self._input)
        texts = [self._paths[n].read_text() for n in ("out", "err")]
        self._folder.cleanup()
        return texts[0], texts[1]


class _Server:
    """The process that is forked."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )

    def ask(self, request: dict) -> int | None:
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def serve() -> None:
    """Answers requests until there are no more, or becomes a program."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in _PRELOADED:
        importlib.import_module(name)
    # TFF's own runtime would complain in each program that ends without one.
    importlib.import_module("tff_cnn.runtime").close()
    gc.freeze()  # Collections need not copy what is shared.
    for line in requests:
        request = json.loads(line)
        if "wait" in request:
            answer = _wait(request["wait"], request["timeout"])
        else:
            answer = os.fork()
            if not answer:
                os.close(requests.fileno())
                os.close(answers.fileno())
                return _become(request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    os._exit(0)


def _wait(pid: int, timeout: float) -> int | None:
    """A child's status; None while it runs."""
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], timeout)[0]:
            return None
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _become(request: dict) -> None:
    """Turns a fork into the program, which ends when this returns."""
    for number, (name, mode) in enumerate(
        (("in", os.O_RDONLY), ("out", os.O_WRONLY), ("err", os.O_WRONLY))
    ):
        file = os.open(request[name], mode)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    kind, program, *arguments = request["command"]
    # As of a program whose parent has changed nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [kind, *arguments]
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
