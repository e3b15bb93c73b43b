"""Helpers for tests that start processes and look for what they leave."""

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

from tests import forked, warm

ROOT = pathlib.Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def start(*arguments, **options) -> subprocess.Popen:
    """Starts this Python on `arguments`, with pipes for its output."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        **{
            "cwd": ROOT,
            "env": ENVIRONMENT,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **options,
        },
    )


def run(*arguments, timeout=240, **options) -> subprocess.CompletedProcess:
    """Runs this Python on `arguments` and waits for its end."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        **{
            "cwd": ROOT,
            "env": ENVIRONMENT,
            "capture_output": True,
            "text": True,
            "timeout": timeout,
            **options,
        },
    )


def train(*flags, timeout=240) -> subprocess.CompletedProcess:
    """Runs `python -m experiments.train` with `flags`; see `call`."""
    return call("experiments.train", *flags, timeout=timeout)


def call(*command, **options) -> subprocess.CompletedProcess:
    """Runs a module, or "-c" and a text, where others have run before.

    Which saves most of a short run; what is begun with `start` or `run` begins
    as a user's does. The options are those of `warm.call`.
    """
    return warm.call(*command, **options)


class Server:
    """In the place of `forks.ForkServer`: where the suite runs its programs.

    A run that is to be killed, or that changes what it imports, is forked; all
    others go to the warm interpreter. A limit on memory is not kept.
    """

    def __init__(self, preload=(), withheld=()):
        assert not withheld, "use a server of forks"

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *unused) -> None:
        pass

    def run(self, command, cwd, timeout, memory=None) -> dict:
        """As the server of forks."""
        if command[0] != "experiments.benchmarks.fault_run":
            try:
                found = call(*command, cwd=cwd, timeout=timeout)
            except subprocess.TimeoutExpired:
                return {"status": None, "out": "", "err": ""}
            status, out, err = found.returncode, found.stdout, found.stderr
            return {"status": status, "out": out, "err": err}
        program = forked.start("-m", *command, cwd=cwd)
        try:
            status = program.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
            program.kill()
        out, err = program.communicate()
        return {"status": status, "out": out, "err": err}


def tiny_mnist_flags(data_dir) -> list[str]:
    """For a test's own MNIST, which has thirty training images."""
    return [
        f"--data_dir={data_dir}",
        "--num_clients=15",
        # Adaptive clipping needs about ten.
        "--clients_per_round=12",
    ]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def workers_of(pid: int) -> list[int]:
    """Pids of TFF workers (or what is about to become one) started by `pid`."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            command = (path / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid and "worker_binary" in command:
            found.append(int(path.name))
    return found


def wait_until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Waits for `condition`; fails the test when it does not come."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)
