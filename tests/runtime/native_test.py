"""The worker computes, and is never left behind."""

import os
import signal
import threading

import numpy as np
import pytest
import tensorflow_federated as tff

from tests import forked, processes
from tff_cnn.runtime import native

_PROGRAM = """
import sys
import numpy as np
import tensorflow_federated as tff
from tff_cnn import runtime

@tff.tensorflow.computation(np.float32)
def double(x):
    return 2 * x

with runtime.use("native"):
    print("result", double(21.0), flush=True)
    {then}
print("left", flush=True)
"""


def start_program(then: str) -> forked.Program:
    """Starts a program with a worker that has computed something."""
    program = forked.start("-c", _PROGRAM.format(then=then))
    assert program.first_line().startswith("result 42")
    return program


def assert_no_worker_is_left(workers: list[int]) -> None:
    assert len(workers) == 1
    processes.wait_until(lambda: not processes.is_alive(workers[0]), 5)


@pytest.mark.parametrize(
    ("then", "status"),
    [
        ("input()", 0),
        ("input(); raise ValueError", 1),
        ("input(); sys.exit(3)", 3),
    ],
)
def test_a_program_that_ends_by_itself_leaves_no_worker(then, status):
    program = start_program(then)
    workers = processes.workers_of(program.pid)
    program.write("\n")
    output, _ = program.communicate(timeout=30)
    assert program.returncode == status
    assert ("left" in output) == (status == 0)
    assert_no_worker_is_left(workers)


def test_tffs_own_runtime_does_not_complain_at_the_end():
    """Of modules that are gone by then; in a process that imports it itself."""
    result = processes.run("-c", _PROGRAM.format(then="pass"))
    assert result.returncode == 0 and "left" in result.stdout
    assert "Exception ignored" not in result.stderr


@pytest.mark.parametrize(
    "kill", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
)
def test_a_program_that_is_killed_leaves_no_worker(kill):
    program = start_program("import time; time.sleep(600)")
    workers = processes.workers_of(program.pid)
    program.send_signal(kill)
    program.communicate(timeout=30)
    assert program.returncode != 0
    assert_no_worker_is_left(workers)


def test_ctrl_c_in_a_terminal_does_not_reach_the_worker():
    # A terminal signals the whole foreground group; the worker is in its own.
    program = start_program("import time; time.sleep(600)")
    try:
        (worker,) = processes.workers_of(program.pid)
        assert os.getpgid(worker) != os.getpgid(program.pid)
    finally:
        program.kill()
        program.communicate()


def test_computes_with_clients_none_and_many(native_runtime):
    @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
    def total(values):
        return tff.federated_sum(values)

    assert total([]) == 0
    assert total(list(range(100))) == 4950


def test_survives_the_thread_that_started_it():
    # The kernel's parent-death signal follows threads, not processes.
    started = []
    thread = threading.Thread(
        target=lambda: started.append(native.NativeWorker(1))
    )
    thread.start()
    thread.join()
    worker = started[0]
    try:
        threading.Event().wait(0.3)
        assert processes.is_alive(worker.pid)
    finally:
        worker.stop()
    assert not processes.is_alive(worker.pid)
    worker.stop()  # Harmless when called again.


def fake_binary(tmp_path, monkeypatch, script: str) -> None:
    path = tmp_path / "worker_binary"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(native, "_binary_path", lambda: str(path))


def test_a_worker_that_does_not_answer_in_time_is_an_error(
    tmp_path, monkeypatch
):
    fake_binary(tmp_path, monkeypatch, "exec sleep 60")
    before = processes.workers_of(os.getpid())
    with pytest.raises(native.WorkerError, match=r"not answer within 0\.5 s"):
        native.NativeWorker(1, start_timeout=0.5)
    assert processes.workers_of(os.getpid()) == before


def test_a_worker_that_ends_at_once_is_quoted(tmp_path, monkeypatch):
    fake_binary(tmp_path, monkeypatch, "echo bad library >&2; exit 7")
    with pytest.raises(
        native.WorkerError, match="status 7.*its last words: 'bad library'"
    ):
        native.NativeWorker(1)


def test_a_missing_binary_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(tff, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(native.WorkerError, match="missing at"):
        native.NativeWorker(1)
