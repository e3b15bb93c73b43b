import resource

import psutil
import pytest

from tff_cnn.core import memory
from tff_cnn.core.errors import UsageError


def test_no_more_than_the_machine_has():
    found = memory.available_bytes()
    assert 0 < found <= psutil.virtual_memory().total


def test_the_least_of_machine_container_and_limit(tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9999 kB\nMemAvailable:    4000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.available_bytes() == 4000 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() == 4000 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory.available_bytes() == 4000
    (tmp_path / "memory.max").write_text("500\n")
    assert memory.available_bytes() == 0
    (tmp_path / "memory.max").unlink()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (3000, -1))
    assert memory.available_bytes() == 3000
    meminfo.unlink()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (-1, -1))
    assert memory.available_bytes() == 2**63 - 1


def test_what_fits_and_what_does_not(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**30)
    memory.check_fits(2**30, "x", "y")
    with pytest.raises(UsageError) as found:
        memory.check_fits(298 * 2**30, "--client_epochs=9", "use fewer")
    assert str(found.value) == (
        "--client_epochs=9 needs 298 GiB of memory, but only 1 GiB are "
        "available: use fewer."
    )
