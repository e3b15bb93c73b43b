"""install.sh, without a network: what it says, and when it does nothing."""

import os
import pathlib
import shutil
import stat
import subprocess

import pytest

from tests.processes import ROOT

_TOOLS = (
    "awk bash cat cp cut dirname env getconf grep head mkdir rm sha256sum sort "
    "tee touch"
).split()

# Stands for a Python of another version that has pip.
_OTHER_PYTHON = """#!/bin/bash
case "$*" in
  *ensurepip*) exit 1 ;;
  *python_version*) echo 3.13.1 ;;
  *"-m pip --version"*) exit {pip_status} ;;
  *"-m pip install"*) echo "$*" >> "{log}"; {install} ;;
esac
"""

# Stands for a Python 3.11, and for the environments that it makes.
_PYTHON_311 = """#!/bin/bash
echo "$*" >> "{log}"
case "$*" in
  *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"-m pip install"*) {install} ;;
esac
"""


class Machine:
    """A checkout, and a PATH with a few tools and whatever Pythons."""

    def __init__(self, folder: pathlib.Path):
        self.checkout = folder / "checkout"
        self.tools = folder / "bin"
        self.log = folder / "log"
        self.checkout.mkdir()
        self.tools.mkdir()
        shutil.copytree(ROOT / ".requirements", self.checkout / ".requirements")
        for name in ("requirements.txt", "setup.py"):
            shutil.copy(ROOT / name, self.checkout)
        for name in _TOOLS:
            (self.tools / name).symlink_to(shutil.which(name))
        self.add(
            "uname", '#!/bin/bash\n[ "$1" = -s ] && echo Linux || echo x86_64'
        )

    def add(self, name: str, script: str, folder: str | None = None) -> None:
        path = (self.checkout / folder if folder else self.tools) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def add_python(self, install: str = "true") -> None:
        script = _PYTHON_311.format(log=self.log, install=install)
        self.add("python3.11", script)

    def add_other_python(self, install="true", pip_status=0) -> None:
        script = _OTHER_PYTHON.format(
            log=self.log, install=install, pip_status=pip_status
        )
        self.add("python3", script)

    def install(self, extra: str = "") -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", ".requirements/install.sh", *extra.split()],
            cwd=self.checkout,
            env={"PATH": str(self.tools), "HOME": str(self.checkout)},
            capture_output=True,
            text=True,
        )

    def installs(self) -> list[str]:
        """The lock files that pip was asked to install since last asked."""
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines()
        self.log.unlink()
        return [line.split(" -r ")[1] for line in lines if " -r " in line]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def assert_one_sentence(result, *parts):
    assert result.returncode == 2, result
    errors = result.stderr.strip().splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: "), result.stderr
    for part in parts:
        assert part in errors[0]


def test_another_platform(machine):
    machine.add_python()
    machine.add(
        "uname", '#!/bin/bash\n[ "$1" = -s ] && echo Darwin || echo arm64'
    )
    assert_one_sentence(machine.install(), "Darwin arm64", "Linux x86_64")
    assert not (machine.checkout / ".venv").exists()


def test_an_old_c_library(machine):
    machine.add_python()
    (machine.tools / "getconf").unlink()
    machine.add("getconf", "#!/bin/bash\necho glibc 2.17")
    assert_one_sentence(machine.install(), "glibc 2.17", "2.31 or newer")
    machine.add("getconf", "#!/bin/bash\nexit 1")  # As on Alpine.
    assert_one_sentence(machine.install(), "not glibc", "2.31 or newer")


def test_no_python_at_all(machine):
    assert_one_sentence(machine.install(), "no Python was found", "install")


def test_no_network(machine):
    machine.add_python(
        "echo 'ERROR: No matching distribution (from versions: none)'; exit 1"
    )
    result = machine.install()
    assert_one_sentence(result, "no connection")
    # The next attempt starts over rather than believing in half an install.
    machine.installs()
    machine.add_python()
    shutil.rmtree(machine.checkout / ".venv")
    assert machine.install().returncode == 0
    assert machine.installs() == ["requirements.txt"]


def test_a_full_disk(machine):
    machine.add_python("echo 'OSError: No space left on device'; exit 1")
    assert_one_sentence(machine.install(), "the disk is full")


def test_another_python_without_network_or_pip(machine):
    machine.add_other_python("echo Connection refused; exit 1")
    result = machine.install()
    assert "found is 3.13.1" in result.stdout and "uv" in result.stdout
    assert_one_sentence(result, "uv could not be installed", "no connection")
    machine.add_other_python(pip_status=1)
    assert_one_sentence(machine.install(), "has no pip")


def test_another_python_gets_a_fitting_one_through_uv(machine):
    machine.add_other_python(
        'mkdir -p .uv/bin && cp "$(dirname "$0")/fake-uv" .uv/bin/uv'
    )
    machine.add_python()
    python = machine.checkout / "brought-python3.11"
    (machine.tools / "python3.11").rename(python)
    machine.add(
        "fake-uv",
        "#!/bin/bash\n"
        'case "$*" in\n'
        '  *"python install 3.11"*) touch .uv/downloaded; env | grep ^UV_ ;;\n'
        f'  *"python find"*) [ -e .uv/downloaded ] && echo {python} ;;\n'
        "esac\n",
    )
    result = machine.install()
    assert result.returncode == 0, result.stderr
    assert machine.installs() == [".requirements/uv.txt", "requirements.txt"]
    # Everything stays in the project's own folder.
    settings = (machine.checkout / ".uv" / "install.log").read_text()
    for name in ("UV_PYTHON_INSTALL_DIR", "UV_CACHE_DIR"):
        assert f"{name}={machine.checkout}/.uv/" in settings
    assert machine.install().returncode == 0
    assert machine.installs() == []


def test_installs_once_and_notices_a_changed_lock(machine):
    machine.add_python()
    assert machine.install().returncode == 0
    assert machine.installs() == ["requirements.txt"]
    assert machine.install().stdout == ""
    assert machine.installs() == []
    assert machine.install("test").returncode == 0
    assert machine.installs() == [".requirements/test.txt"]
    machine.install()
    machine.install("test")
    assert machine.installs() == []
    lock = machine.checkout / "requirements.txt"
    lock.write_text(lock.read_text() + "# changed\n")
    os.utime(lock, (0, 0))  # Times mean nothing after a checkout.
    assert machine.install().returncode == 0
    assert machine.installs() == ["requirements.txt"]


def test_the_test_lock_covers_the_other(machine):
    machine.add_python()
    assert machine.install("test").returncode == 0
    assert machine.install().returncode == 0
    assert machine.installs() == [".requirements/test.txt"]


def test_an_unknown_extra(machine):
    machine.add_python()
    assert_one_sentence(machine.install("nonsense"), "nonsense", "test, gpu")


@pytest.mark.parametrize("extra", ["test", "gpu", "notebook", "audit"])
def test_every_lock_pins_the_same_versions_with_hashes(extra):
    def pins(path):
        lines = path.read_text().splitlines()
        found = dict(
            line.removesuffix(" \\").split("==")
            for line in lines
            if "==" in line and not line.startswith((" ", "#"))
        )
        assert all(
            lines[i + 1].lstrip().startswith("--hash=sha256:")
            for i, line in enumerate(lines)
            if "==" in line and not line.startswith((" ", "#"))
        )
        return found

    base = pins(ROOT / "requirements.txt")
    larger = pins(ROOT / ".requirements" / f"{extra}.txt")
    assert base.items() <= larger.items()
    assert base["tensorflow"] == "2.14.1"
    assert base["tensorflow-federated"] == "0.87.0"
