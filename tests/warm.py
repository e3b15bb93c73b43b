"""Runs many `python -m module` in one interpreter: a later run is cheap.

A first short training run takes seven seconds in a process of its own, a later
one in the same interpreter two to three. An `Interpreter` is a process; it is
sent one command at a time and tells how it ended, as if it had been a process
of its own. Arguments, environment, working directory and streams are a
command's own; flags, signal handlers and TFF's default context are put back
after it. One that kills it, hangs or leaves by `os._exit` takes the interpreter
along; the next command gets a new one.

TensorFlow settles threads and devices once, so there is an interpreter for
each setting of these.

What must not be run here: what is signalled, killed, or watched while it runs,
and what is told apart by its imports. `processes.start` and `processes.run`
are for that.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pathlib
import re
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import traceback
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence

ROOT = pathlib.Path(__file__).parents[1]
_SERVE = "from tests import warm; warm.serve()"
_SETTING = re.compile(
    r"--(devices|intra_op_threads|inter_op_threads)=(\S+)"
).fullmatch
# For processes that build graphs, test after test.
GARBAGE_THRESHOLDS = (50_000, 20, 100)
_DEFAULTS = {"devices": "auto", "intra_op_threads": "1"}

# By setting.
_interpreters: dict[frozenset[tuple[str, str]], "Interpreter"] = {}


def call(
    *command: object,
    cwd: str | os.PathLike = ROOT,
    env: Mapping[str, str] | None = None,
    timeout: float = 240.0,
) -> subprocess.CompletedProcess:
    """Runs a program in the interpreter of its setting.

    Args:
      *command: A module, such as "experiments.train", or "-c" and a text; then
        its arguments.
      cwd: Its working directory.
      env: Its environment; None is that of the tests.
      timeout: Seconds.

    Raises:
      subprocess.TimeoutExpired: After `timeout`; the interpreter is killed.
    """
    arguments = list(map(str, command))
    setting = setting_of(arguments, cwd)
    if setting not in _interpreters:
        _interpreters[setting] = Interpreter()
    interpreter = _interpreters[setting]
    try:
        return interpreter.run(arguments, cwd, env, timeout)
    finally:
        if not interpreter.is_alive:
            del _interpreters[setting]


def setting_of(
    arguments: Sequence[str], cwd: str | os.PathLike = ROOT
) -> frozenset[tuple[str, str]]:
    """What a command line and its flagfiles settle of threads and devices."""
    texts = []
    for argument in arguments:
        name, _, path = argument.partition("=")
        file = pathlib.Path(cwd, path)
        if name == "--flagfile" and file.is_file():
            texts += file.read_text(errors="replace").splitlines()
        else:
            texts.append(argument)
    found = [match.groups() for text in texts if (match := _SETTING(text))]
    return frozenset(dict(found).items() - _DEFAULTS.items())


def close() -> None:
    """Ends all interpreters."""
    while _interpreters:
        _interpreters.popitem()[1].close()


atexit.register(close)


class Interpreter:
    """A process that runs commands, one after the other.

    Attributes:
      is_alive: Whether the last command has left it in order.
    """

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            # Ctrl-C ends the tests, and with them the pipe to it.
            start_new_session=True,
        )
        self.is_alive = True

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(
        self,
        command: list[str],
        cwd: str | os.PathLike,
        env: Mapping[str, str] | None,
        timeout: float,
    ) -> subprocess.CompletedProcess:
        """As `call`, in this interpreter."""
        with tempfile.TemporaryDirectory() as folder:
            out, err = pathlib.Path(folder, "out"), pathlib.Path(folder, "err")
            out.touch()
            err.touch()
            request = {
                "command": command,
                "cwd": str(cwd),
                "env": dict(os.environ if env is None else env),
                "out": str(out),
                "err": str(err),
            }
            status = self._ask(request, timeout)
            if status is None:
                raise subprocess.TimeoutExpired(command, timeout)
            return subprocess.CompletedProcess(
                command,
                status,
                out.read_text(errors="surrogateescape"),
                err.read_text(errors="surrogateescape"),
            )

    def _ask(self, request: dict, timeout: float) -> int | None:
        """The command's status; None where it takes too long."""
        pipe = self._process.stdin
        pipe.write(json.dumps(request).encode() + b"\n")
        pipe.flush()
        answers = self._process.stdout
        if not select.select([answers], [], [], timeout)[0]:
            self.close()
            return None
        answer = answers.readline()
        if answer:
            return json.loads(answer)
        self.is_alive = False  # The command has ended the process.
        status = self._process.wait()
        self.close()
        return status

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self.is_alive = False
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()


def serve() -> None:
    """Runs commands until there are no more."""
    # These two are not for the commands.
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    # Modules that are programs are also imported, for what they define.
    warnings.filterwarnings("ignore", "'experiments", RuntimeWarning, "runpy")
    for line in requests:
        status = _answer(json.loads(line))
        answers.write(f"{status}\n")
        answers.flush()
    os._exit(0)  # Nothing is left that would have to be put in order.


def _answer(request: dict) -> int:
    with _streams(request["out"], request["err"]), _as_found():
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = list(request["command"])
        importlib.invalidate_caches()
        try:
            if sys.argv[0] == "-c":
                _run_text(sys.argv.pop(1))
            else:
                runpy.run_module(
                    sys.argv[0], run_name="__main__", alter_sys=True
                )
        except SystemExit as exited:
            return _status(exited.code)
        except BaseException:
            traceback.print_exc()
            return 1
        return 0


def _run_text(text: str) -> None:
    """Runs a program's text as `python -c` does."""
    before, module = sys.modules["__main__"], types.ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        exec(compile(text, "<string>", "exec"), module.__dict__)
    finally:
        sys.modules["__main__"] = before


def _status(code: object) -> int:
    """As Python makes the status of a process of it."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


@contextlib.contextmanager
def _streams(out: str, err: str) -> Iterator[None]:
    """Standard streams that are files, for all that writes to them."""
    before = sys.stdout, sys.stderr
    kept = os.dup(1), os.dup(2)
    for path, number in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY)
        os.dup2(file, number)
        os.close(file)
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr, *before):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = before
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)


@contextlib.contextmanager
def _as_found() -> Iterator[None]:
    """Puts back what a command changes in the interpreter for good."""
    from absl import app, flags
    from absl import logging as absl_logging
    from absl.testing import flagsaver

    app.define_help_flags()  # absl defines them once.
    values = flagsaver.save_flag_values()
    handlers = {n: signal.getsignal(n) for n in signal.valid_signals()}
    verbosity, hook = absl_logging.get_verbosity(), sys.unraisablehook
    try:
        yield
    finally:
        _forget_flags(values)
        flags.FLAGS.unparse_flags()
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        absl_logging.set_verbosity(verbosity)
        sys.unraisablehook = hook
        _forget_runs()


def _forget_flags(values: dict) -> None:
    """Removes the command's flags, and gives all others their values back."""
    from absl import flags
    from absl.testing import flagsaver

    now = flagsaver.save_flag_values()
    for name in now.keys() - values.keys():
        # Those of libraries are defined with the first import alone.
        module = flags.FLAGS.find_module_defining_flag(name)
        if module in sys.modules and not module.startswith("experiments"):
            values[name] = now[name]
    flagsaver.restore_flag_values(values)


def _forget_runs() -> None:
    """Gives back what runs have built, and closes their runtime."""
    if "tensorflow_federated" not in sys.modules:
        return
    import tensorflow as tf

    from tff_cnn import runtime

    runtime.close()
    # Names of layers are numbered anew, as in a new process.
    tf.keras.backend.clear_session()
