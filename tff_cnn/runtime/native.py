"""TFF's C++ worker: started once, health-checked, never left behind.

TFF starts the same binary by itself, but leaves it running when Python ends.
Here the worker dies with this process, however that ends:

- return, exception, Ctrl-C: the context manager (or atexit) kills and reaps it;
- SIGKILL: the kernel kills it, because it was started with PR_SET_PDEATHSIG.

The kernel sends that signal when the *thread* that started the process ends,
so a thread that lives as long as the worker starts it. The worker is in a
session of its own: Ctrl-C reaches Python only, which then stops the worker.

The binary listens on all interfaces without authentication; nothing in it can
change that. On a shared network use a firewall, or the in-process runtime.
"""

import atexit
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import BinaryIO

import grpc
import portpicker
import tensorflow_federated as tff

from tff_cnn.core.errors import FailedRunError

# Runs in a fresh interpreter between us and the worker: asks the kernel to
# kill this process with its parent, checks that the parent has not died in the
# meantime, and becomes the worker. A preexec_fn would do the same after a fork
# of a process with many threads, which may deadlock.
_LAUNCHER = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
    sys.exit("prctl(PR_SET_PDEATHSIG) failed")
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""

_MAX_MESSAGE_BYTES = 2_000_000_000
_CHANNEL_OPTIONS = [
    ("grpc.max_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
]


class WorkerError(FailedRunError):
    """The worker did not start, did not answer in time, or has ended."""


class NativeWorker:
    """One `worker_binary` process and the gRPC channel to it."""

    def __init__(self, max_concurrent_calls: int, start_timeout: float = 60.0):
        """Starts the worker and waits until it answers.

        Args:
          max_concurrent_calls: Clients trained at the same time.
          start_timeout: Seconds to wait for the first answer.

        Raises:
          WorkerError: It ended, or did not answer in time.
        """
        self._log: BinaryIO = tempfile.TemporaryFile()
        self._process: subprocess.Popen | None = None
        self._start_error: OSError | None = None
        self._channel: grpc.Channel | None = None
        port = portpicker.pick_unused_port()
        command = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _LAUNCHER,
            str(os.getpid()),
            _binary_path(),
            f"--port={port}",
            f"--max_concurrent_computation_calls={max_concurrent_calls}",
        ]
        started = threading.Event()
        threading.Thread(
            target=self._start_and_wait,
            args=(command, started),
            name="tff-worker",
            daemon=True,
        ).start()
        started.wait()
        atexit.register(self.stop)
        try:
            self._connect(port, start_timeout)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def stub(self) -> tff.framework.RemoteExecutorGrpcStub:
        """A stub for a worker that is running.

        Raises:
          WorkerError: The worker has ended.
        """
        self._check_alive()
        return tff.framework.RemoteExecutorGrpcStub(self._channel)

    def stop(self) -> None:
        """Kills and reaps the worker; harmless when called again."""
        atexit.unregister(self.stop)
        # Dropped rather than closed: a thread of gRPC that watches a channel
        # ends by itself when the channel is collected, but dies noisily when
        # it is closed under it.
        self._channel = None
        if self._process is not None:
            # The worker holds nothing worth saving: every result has been
            # returned by the call that asked for it.
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _start_and_wait(self, command, started) -> None:
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )
        except OSError as error:
            self._start_error = error
        finally:
            started.set()
        if self._process is not None:
            self._process.wait()

    def _connect(self, port: int, timeout: float) -> None:
        if self._start_error is not None:
            raise WorkerError(
                f"TFF's worker could not be started: {self._start_error}."
            )
        self._channel = grpc.insecure_channel(
            f"localhost:{port}", _CHANNEL_OPTIONS
        )
        ready = grpc.channel_ready_future(self._channel)
        for _ in range(max(1, round(timeout / 0.1))):
            try:
                ready.result(timeout=0.1)
                return
            except grpc.FutureTimeoutError:
                self._check_alive()
        ready.cancel()
        raise WorkerError(
            f"TFF's worker did not answer within {timeout:g} s"
            f"{self._last_log()}."
        )

    def _check_alive(self) -> None:
        status = self._process.poll()
        if status is not None:
            raise WorkerError(
                f"TFF's worker has ended with status {status}"
                f"{self._last_log()}: start the same command again to continue."
            )

    def _last_log(self) -> str:
        if self._log.closed:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f" (its last words: {lines[-1][:300]!r})" if lines else ""


@contextlib.contextmanager
def open_runtime(
    max_concurrent_calls: int | None = None,
) -> Iterator[tff.framework.SyncExecutionContext]:
    """Starts a worker and yields the execution context that uses it.

    Args:
      max_concurrent_calls: Clients trained at the same time; None is the
        number of CPU cores that this process may use.
    """
    if max_concurrent_calls is None:
        max_concurrent_calls = len(os.sched_getaffinity(0))
    worker = NativeWorker(max_concurrent_calls)
    try:
        yield _context(worker)
    finally:
        worker.stop()


def _context(worker: NativeWorker) -> tff.framework.SyncExecutionContext:
    def executor_stack(cardinalities):
        cardinalities.setdefault(tff.CLIENTS, 0)
        executor = tff.framework.RemoteExecutor(worker.stub())
        executor.set_cardinalities(cardinalities)
        return executor

    return tff.framework.SyncExecutionContext(
        executor_fn=tff.framework.ResourceManagingExecutorFactory(
            executor_stack
        ),
        compiler_fn=tff.backends.native.desugar_and_transform_to_native,
        transform_args=tff.tensorflow.transform_args,
        transform_result=tff.tensorflow.transform_result,
    )


def _binary_path() -> str:
    path = os.path.join(os.path.dirname(tff.__file__), "data", "worker_binary")
    if not os.path.isfile(path):
        raise WorkerError(
            f"TFF's worker is missing at {path}: install the locked wheels "
            "again."
        )
    return path
