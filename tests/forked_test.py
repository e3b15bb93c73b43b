"""A forked program is as one that was started."""

import json
import os
import signal
import subprocess

import pytest

from tests import forked

LOOK = """
import json, os, signal, sys
print(json.dumps({
    "arguments": sys.argv,
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "pid": os.getpid(),
    "handler": signal.getsignal(2) is signal.default_int_handler,
    "pipes": [
        number
        for number in range(3, 50)
        if os.path.exists(f"/proc/self/fd/{number}")
        and os.readlink(f"/proc/self/fd/{number}").startswith("pipe:")
    ],
    "imported": "tensorflow_federated" in sys.modules,
}))
"""


def test_it_begins_as_a_process_does(tmp_path):
    environment = {**os.environ, "ONE": "1"}
    program = forked.start("-c", LOOK, "--a", cwd=tmp_path, env=environment)
    found = json.loads(program.communicate()[0])
    assert found["arguments"] == ["-c", "--a"]
    assert found["environment"] == environment
    assert found["folder"] == str(tmp_path)
    assert found["pid"] == program.pid
    assert found["handler"] and found["imported"]
    assert found["pipes"] == []  # None by which it is asked for more.
    (tmp_path / "named.py").write_text("import sys; sys.exit(len(sys.argv))")
    assert forked.start("-m", "named", "x", cwd=tmp_path).wait() == 2


@pytest.mark.parametrize(
    ("text", "status", "errors"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import atexit; atexit.register(print, 'last')", 0, ""),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
    ],
)
def test_it_ends_as_a_process_does(text, status, errors):
    program = forked.start("-c", f"print('x', flush=True); {text}")
    out, err = program.communicate()
    assert program.returncode == status
    assert out == ("x\nlast\n" if "last" in text else "x\n")
    assert err.endswith(errors) if errors else err == ""


def test_it_is_talked_to_and_signalled():
    program = forked.start(
        "-c",
        "print('first\\nsecond', flush=True)\n"
        "print(input(), flush=True); input()",
    )
    assert program.first_line() == "first\n"
    program.write("given\n")
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.1)
    other = forked.start("-c", "print('meanwhile')")
    assert other.communicate()[0] == "meanwhile\n"
    program.send_signal(signal.SIGINT)
    out, err = program.communicate()
    assert out == "first\nsecond\ngiven\n"
    assert err.endswith("KeyboardInterrupt\n")
    assert program.returncode == -signal.SIGINT
