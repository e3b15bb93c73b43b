"""How every binary starts, and how it ends when it cannot go on.

A mistake (`UsageError`) ends with one sentence and status 2. So does what
fails outside the program, with status 1: `FailedRunError`, and whatever the
system, memory or TensorFlow's file access report. Ctrl-C: status 130. Anything
else is a defect of the program itself: one sentence names it and the file that
has the whole trace, and the status is 70 (EX_SOFTWARE of sysexits.h).

With TFF_CNN_TRACE=1 in the environment every ending shows its trace.
"""

import errno
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable

from absl import app, flags
from absl import logging as absl_logging

import experiments
from experiments import flagfiles
from experiments import flags as run_flags
from tff_cnn.core.errors import FailedRunError, UsageError

HELP_FLAGS = {"--help", "-help", "--helpshort", "--helpfull", "-h"}
DEFECT = 70

# TensorFlow reports at the error level that no GPU library is there, three
# lines a process. Set it to 0 to see everything.
_LOG_LEVEL = "3"
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.EAGAIN: "raise the limit on processes (ulimit -u)",
    errno.EROFS: "name another place",
    errno.EACCES: "name another place, or change its permissions",
    errno.EPERM: "name another place, or change its permissions",
}
# TensorFlow's errors that say something of the machine, not of the program.
_OUTSIDE_TENSORFLOW = (
    "ResourceExhaustedError",
    "PermissionDeniedError",
    "DataLossError",
    "UnavailableError",
)
_LONGEST = 1000


def run(
    main: Callable[[list[str]], None],
    parse: bool = True,
    show_help: Callable[[str | None, list[flagfiles.Given]], str] | None = None,
) -> None:
    """Parses flags and runs `main(argv)`, where argv is what was typed.

    Args:
      main: Of the binary.
      parse: Whether it has flags.
      show_help: (topic or None, command line) -> help, for a binary whose
        flags are those of a run (`experiments.flags`).
    """
    _prepare_streams()
    if signal.getsignal(signal.SIGINT) is experiments.end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _LOG_LEVEL)
    # Keras warns of every uncompiled model that it saves.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # TensorFlow Datasets warns of every folder that is not there.
    absl_logging.set_verbosity(absl_logging.ERROR)
    sys.unraisablehook = _unraisable
    argv = list(sys.argv)
    # Not `app.run`: it marks absl as initialized, and TensorFlow 2.14 imported
    # after that (as it is here, so that mistakes and help answer at once)
    # looks for devices in the middle of its import, which leaves Keras broken.
    app.define_help_flags()
    try:
        _check_working_directory()
        try:
            if parse:
                parse_flags(argv, show_help)
            main(argv)
        finally:
            _flush_stdout()
    except SystemExit:
        if HELP_FLAGS & set(argv):  # absl ends its help with status 1.
            sys.exit(0)
        raise
    except BaseException as error:
        sys.exit(_end(error))


def _unraisable(found) -> None:
    """Delivers a signal again that came where Python can raise nothing.

    In the middle of a garbage collection, say: it would be printed as ignored,
    and the program would go on.
    """
    if issubclass(found.exc_type, KeyboardInterrupt):
        number = getattr(found.exc_value, "number", signal.SIGINT)
        again = threading.Timer(0.05, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(found)


def describe(error: BaseException) -> tuple[int, str] | None:
    """Status and sentence of a foreseen ending; None: a defect."""
    if isinstance(error, UsageError):
        return 2, f"error: {error.told(run_flags.flag_of)}"
    if isinstance(error, FailedRunError):
        return 1, f"error: {error.told(run_flags.flag_of)}"
    if isinstance(error, MemoryError) or _is_short_of_memory(error):
        return 1, f"error: out of memory{_reason(error)}."
    if isinstance(error, OSError):
        return 1, f"error: {_sentence_of_os(error)}"
    if isinstance(error, UnicodeError):
        return 1, (
            f"error: a name or a text cannot be converted ({error}): use "
            "UTF-8, as with LC_ALL=C.UTF-8."
        )
    if _is_outside_tensorflow(error):
        return 1, f"error: TensorFlow gave up{_reason(error)}."
    if _was_interrupted(error):
        return 130, "Interrupted."
    return None


def _end(error: BaseException) -> int:
    """Says how the program ends, and returns its status."""
    status, sentence = describe(error) or (DEFECT, None)
    trace = "".join(traceback.format_exception(error))
    if sentence is None:
        kept, trace = _keep(trace)
        name = type(error).__name__
        sentence = (
            f"error: a defect of this program: {name}{_reason(error)} "
            f"{_place(error)}; {kept}."
        )
    elif not os.environ.get("TFF_CNN_TRACE"):
        trace = ""
    if status == 130:
        trace += "\n"  # The terminal shows ^C where the line ends.
    try:
        print(f"{trace}{_one_line(sentence)}", file=sys.stderr, flush=True)
    except OSError:
        _discard(2)
    return status


def _keep(trace: str) -> tuple[str, str]:
    """Where a defect's trace is now, and what of it is to be shown."""
    if os.environ.get("TFF_CNN_TRACE"):
        return "the trace is above", trace
    try:
        descriptor, path = tempfile.mkstemp(".log", "tff_cnn-")
        with open(descriptor, "w", errors="backslashreplace") as file:
            file.write(trace)
    except OSError:
        return "the trace is above", trace
    return f"the whole trace is in {path}, please report it", ""


def _sentence_of_os(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno == errno.EPIPE:
        return "nobody reads what is written to a pipe any more."
    subject = "" if error.filename is None else f"{error.filename}: "
    remedy = _REMEDIES.get(error.errno)
    return f"{subject}{reason}{'; ' + remedy if remedy else ''}."


def _is_short_of_memory(error: BaseException) -> bool:
    """Whether it is how the loader and threads say that memory is missing."""
    return isinstance(error, ImportError | RuntimeError) and any(
        sign in str(error)
        for sign in (
            "failed to map segment",
            "annot allocate memory",
            "can't start new thread",
        )
    )


def _is_outside_tensorflow(error: BaseException) -> bool:
    kind = type(error)
    return kind.__name__ in _OUTSIDE_TENSORFLOW and kind.__module__.startswith(
        "tensorflow."
    )


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether it is Ctrl-C, or what an import made of it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reason(error: BaseException) -> str:
    text = getattr(error, "message", None) or str(error)
    return f": {text.strip().splitlines()[0].rstrip('.')}" if text else ""


def _place(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"({last.filename}, line {last.lineno})"


def _one_line(sentence: str) -> str:
    """Without what would be a second line or move a terminal's cursor."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence)
    if len(shown) > _LONGEST:
        shown = f"{shown[: _LONGEST // 2]} ... {shown[-_LONGEST // 2 :]}"
    return shown


def _prepare_streams() -> None:
    """Standard streams that are there, and can be given any text.

    A file opened by a program whose standard output is closed would get its
    number, and with it all that is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Gets the lowest free number.
    sys.stdout = sys.stdout or open(1, "w", closefd=False)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flush_stdout() -> None:
    """Finds out here, not while Python ends, that nothing can be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _discard(1)
        raise FailedRunError(
            f"standard output cannot be written: {error.strerror}."
        ) from error


def _discard(number: int) -> None:
    """What is still to be written to a standard stream goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def _check_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise FailedRunError(
            "the working directory was deleted: change into one that exists."
        ) from error


def parse_flags(argv: list[str], show_help=None) -> None:
    """Parses what was typed; `show_help` as of `run`.

    Raises:
      UsageError: It is not what the flags take.
    """
    expanded = flagfiles.expand(argv[1:])
    if show_help is not None:
        expanded = run_flags.renamed(expanded)
        run_flags.import_components(expanded)
        run_flags.define()
        topics = [_topic(g.text) for g in expanded if _asks_for_help(g.text)]
        if topics:
            print(show_help(topics[-1], expanded))
            sys.exit(0)
    flagfiles.check(expanded, flags.FLAGS)
    try:
        rest = flags.FLAGS([argv[0], *(given.text for given in expanded)])
    except flags.Error as error:
        raise UsageError(_readable(str(error))) from error
    if len(rest) > 1:
        raise UsageError(
            f"unexpected argument {rest[1]!r}: everything is a flag, "
            "--name=value (see --help)."
        )


def _asks_for_help(argument: str) -> bool:
    name = argument.partition("=")[0]
    return name in HELP_FLAGS - {"--helpfull"}


def _topic(argument: str) -> str | None:
    return argument.partition("=")[2] or None


def _readable(message: str) -> str:
    """absl's message of a flag's mistake, without what Python says of it."""
    message = re.sub(
        "invalid literal for int.*|Exceeds the limit.*for integer.*",
        "expected an integer",
        message,
        flags=re.DOTALL,
    )
    message = re.sub(
        "could not convert string to float.*",
        "expected a number",
        message,
        flags=re.DOTALL,
    )
    return f"{message.rstrip('.')}."
