import json
import os
import socket

import pytest

from tests import processes
from tff_cnn.core.errors import UsageError
from tff_cnn.training import lock

_HOLDER = """
import pathlib, sys, time
from tff_cnn.training import lock
with lock.hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_one_is_refused_with_pid_and_host_and_leaves_it_alone(
    tmp_path,
):
    path = tmp_path / ".lock"
    with lock.hold(path):
        before = path.read_bytes()
        with pytest.raises(UsageError) as error, lock.hold(path):
            pass
        message = str(error.value)
        assert f"process {os.getpid()} on {socket.gethostname()}" in message
        assert str(tmp_path) in message and "run_dir" in message
        assert path.read_bytes() == before
    assert not path.exists()
    with lock.hold(path):
        pass


def test_an_exception_lets_go(tmp_path):
    path = tmp_path / ".lock"
    with pytest.raises(ZeroDivisionError), lock.hold(path):
        raise ZeroDivisionError
    assert not path.exists()


def test_another_process_holds_it_until_it_is_killed(tmp_path, capsys):
    path = tmp_path / ".lock"
    holder = processes.start("-c", _HOLDER, path)
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UsageError, match=f"process {holder.pid} on"),
            lock.hold(path),
        ):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with lock.hold(path):  # What it left is noticed and taken over.
        assert json.loads(path.read_text())["pid"] == os.getpid()
    noticed = capsys.readouterr().err
    assert f"was left by process {holder.pid}" in noticed


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"null"])
def test_what_a_stale_file_says_does_not_matter(tmp_path, content):
    path = tmp_path / ".lock"
    path.write_bytes(content)
    with lock.hold(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_lock_that_its_owner_removes_meanwhile_is_not_taken(
    tmp_path, monkeypatch
):
    path = tmp_path / ".lock"
    flock, seen = lock.fcntl.flock, []

    def remove_first(descriptor, operation):
        flock(descriptor, operation)
        if not seen:
            path.unlink()
        seen.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(lock.fcntl, "flock", remove_first)
    with lock.hold(path):
        assert path.stat().st_ino == seen[-1]
    assert len(seen) == 2
