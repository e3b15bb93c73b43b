"""Helpers for tests that start processes and look for what they leave."""

import functools
import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

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
    """Runs `python -m experiments.train` with `flags`.

    In a fork of a process that has imported TensorFlow and TFF and nothing
    else, which saves a third of a short run; a run begun with `start` imports
    them itself, as a user's does.
    """
    command = ["experiments.train", *map(str, flags)]
    with tempfile.TemporaryDirectory() as folder:
        out, err = pathlib.Path(folder, "out"), pathlib.Path(folder, "err")
        process = _forks().Process(
            target=_run_as_main, args=(command, str(out), str(err))
        )
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(
            command, process.exitcode, out.read_text(), err.read_text()
        )


@functools.cache
def _forks() -> multiprocessing.context.BaseContext:
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tensorflow", "tensorflow_federated"])
    return forks


def _run_as_main(command: list[str], out: str, err: str) -> None:
    for path, descriptor in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
        os.close(file)
    # What pytest has put in the place of these is not for this process.
    sys.stdout = open(1, "w", buffering=1, closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    os.chdir(ROOT)
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


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
