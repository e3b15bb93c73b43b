"""However a program ends, it says so in one sentence, and by its status."""

import errno
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments import entry
from tests import processes
from tff_cnn.core.errors import FailedRunError, UsageError


def ending(capsys, error, monkeypatch=None):
    """Status and error output of a program whose `main` raises `error`."""

    def main(argv):
        raise error

    with pytest.raises(SystemExit) as exited:
        entry.run(main, parse=False)
    return exited.value.code, capsys.readouterr().err


def tensorflow_error(name, message):
    import tensorflow as tf

    return getattr(tf.errors, name)(None, None, message)


def chained(outer, inner):
    outer.__context__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "status", "parts"),
    [
        (UsageError("no."), 2, ["error: no."]),
        (FailedRunError("broken."), 1, ["error: broken."]),
        (
            OSError(errno.ENOSPC, "No space left on device", "/a/b"),
            1,
            ["/a/b", "No space left on device", "free some space"],
        ),
        (OSError(errno.EIO, "Input/output error"), 1, ["Input/output error"]),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, ["/x"]),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ["pipe"]),
        (ConnectionError("refused by 1.2.3.4"), 1, ["refused by 1.2.3.4"]),
        (MemoryError(), 1, ["memory"]),
        (
            np.core._exceptions._ArrayMemoryError((10**12,), np.dtype("f4")),
            1,
            ["memory", "3.64 TiB"],
        ),
        (
            ImportError("libx.so: failed to map segment from shared object"),
            1,
            ["out of memory: libx.so"],
        ),
        (RuntimeError("can't start new thread"), 1, ["out of memory"]),
        (
            UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"),
            1,
            ["ordinal not in range", "UTF-8"],
        ),
        (KeyboardInterrupt(), 130, ["Interrupted."]),
        # What a compiled module makes of one during its import.
        (
            chained(ImportError("initialization failed"), KeyboardInterrupt()),
            130,
            ["Interrupted."],
        ),
        (FailedRunError("two\nlines\x1b[1m."), 1, [r"two\nlines\x1b[1m."]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_family_is_one_sentence(capsys, error, status, parts):
    code, text = ending(capsys, error)
    assert code == status
    assert text.strip().count("\n") == 0, text
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ResourceExhaustedError", "OOM when allocating tensor\n\t [[node]]"),
        ("ResourceExhaustedError", "/d/x; No space left on device"),
        ("PermissionDeniedError", "/d; Permission denied"),
        ("DataLossError", "corrupted record at 0"),
    ],
)
def test_tensorflow_s_errors_of_machine_and_disk(capsys, name, message):
    code, text = ending(capsys, tensorflow_error(name, message))
    assert code == 1
    assert text.count("\n") == 1
    assert message.splitlines()[0] in text


@pytest.mark.parametrize(
    "make",
    [
        lambda: TypeError("'int' object is not callable"),
        lambda: AssertionError(),
        lambda: tensorflow_error("InvalidArgumentError", "shapes differ"),
    ],
)
def test_a_defect_is_named_and_its_trace_is_kept(capsys, tmp_path, make):
    entry.tempfile.tempdir = str(tmp_path)
    try:
        error = make()
        code, text = ending(capsys, error)
    finally:
        entry.tempfile.tempdir = None
    assert code == entry.DEFECT == 70
    assert text.startswith("error: a defect of this program") and (
        text.count("\n") == 1
    )
    assert type(error).__name__ in text
    (trace,) = tmp_path.iterdir()
    assert str(trace) in text
    assert "Traceback" in trace.read_text()
    assert "entry_test.py" in trace.read_text()


def test_the_trace_is_shown_where_it_is_asked_for_or_cannot_be_kept(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(entry.tempfile, "tempdir", str(tmp_path / "missing"))
    _, text = ending(capsys, TypeError("x"))
    assert "Traceback" in text
    monkeypatch.setenv("TFF_CNN_TRACE", "1")
    code, text = ending(capsys, UsageError("no."))
    assert code == 2
    assert "Traceback" in text and text.endswith("error: no.\n")


PROGRAM = """
import sys
from experiments import entry
entry.run(lambda argv: print({printed}), parse=False)
"""


def run_with(stdout, printed="'x'", **options):
    return processes.run(
        "-c",
        PROGRAM.format(printed=printed),
        capture_output=False,
        stdout=stdout,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.mark.parametrize("printed", ["'x'", "'x' * 10**6"])
def test_a_full_standard_output(printed):
    with open("/dev/full", "w") as full:
        result = run_with(full, printed)
    assert result.returncode == 1
    assert "No space left on device" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("printed", ["'x'", "'x' * 10**6"])
def test_a_pipe_that_nobody_reads(printed):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as pipe:
        result = run_with(pipe, printed)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1


def test_what_is_closed_is_not_given_to_the_next_file(tmp_path):
    program = (
        "import os\n"
        "from experiments import entry\n"
        "def main(argv):\n"
        f"    file = open({str(tmp_path / 'x')!r}, 'w')\n"
        "    assert file.fileno() > 2, file.fileno()\n"
        "    print('lost')\n"
        "entry.run(main, parse=False)\n"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(
        ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "-", *command],
        env=processes.ENVIRONMENT,
        cwd=processes.ROOT,
    )
    assert result.returncode == 0
    assert (tmp_path / "x").read_bytes() == b""


def test_text_that_the_terminal_cannot_show():
    environment = {**processes.ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    result = run_with(
        subprocess.PIPE, "'r\\xe9sum\\xe9 \\udcff'", env=environment
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "r\\xe9sum\\xe9 \\udcff\n"


def test_a_deleted_working_directory(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    result = processes.run(
        "-c",
        f"import os; os.rmdir({str(folder)!r})\n"
        + PROGRAM.format(printed="'x'"),
        cwd=folder,
    )
    assert result.returncode == 1
    assert "working directory" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3])
def test_ctrl_c_while_it_imports(tmp_path, seconds):
    # Its import stands for that of anything large.
    (tmp_path / "slow.py").write_text(
        "import time\nprint('importing', flush=True)\ntime.sleep(20)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules.pop('numpy', None)\n"
    )
    (tmp_path / "numpy.py").write_text("import slow\n")
    path = f"{tmp_path}:{processes.ROOT}"
    process = processes.start(
        "-m",
        "experiments.train",
        env={**processes.ENVIRONMENT, "PYTHONPATH": path},
        cwd=tmp_path,
    )
    assert process.stdout.readline() == "importing\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip() == "Interrupted."


def test_a_library_import_leaves_ctrl_c_alone():
    program = (
        "import signal, experiments, sys\n"
        "handler = signal.getsignal(signal.SIGINT)\n"
        "sys.exit(handler is not signal.default_int_handler)"
    )
    assert processes.run("-c", program).returncode == 0


def test_every_binary_goes_through_entry():
    folder = pathlib.Path(entry.__file__).parent
    for path in folder.rglob("*.py"):
        text = path.read_text()
        if '__name__ == "__main__"' in text:
            assert "entry.run(" in text, path


def test_ctrl_c_in_a_garbage_collection_is_not_lost():
    program = (
        "import gc, os, signal, time\n"
        "from experiments import entry\n"
        "def main(argv):\n"
        "    def collecting(phase, info):\n"
        "        if collecting in gc.callbacks:\n"
        "            gc.callbacks.remove(collecting)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "            time.sleep(0.1)\n"
        "    gc.callbacks.append(collecting)\n"
        "    gc.collect()\n"
        "    print('went on', flush=True)\n"
        "    time.sleep(20)\n"
        "entry.run(main, parse=False)\n"
    )
    result = processes.run("-c", program, timeout=15)
    assert result.returncode == 130
    assert result.stdout == "went on\n"
    assert result.stderr == "\nInterrupted.\n"
