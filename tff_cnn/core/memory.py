"""How much memory there is, and a refusal of what could never fit in it."""

import pathlib
import resource

from tff_cnn.core.errors import UsageError

_MEMINFO = pathlib.Path("/proc/meminfo")
_CGROUP = pathlib.Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """What this process may still use: of the machine, container and limits.

    Where the system does not say, as large as can be.
    """
    found = [2**63 - 1]
    for line in _lines(_MEMINFO):
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    limit, used = (
        _lines(_CGROUP / f"memory.{name}") for name in ("max", "current")
    )
    if limit and used and limit[0] != "max":
        found.append(int(limit[0]) - int(used[0]))
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        found.append(limit)
    return max(0, min(found))


def check_fits(needed_bytes: int, what: str, remedy: str) -> None:
    """Refuses what needs more memory than there is.

    Args:
      needed_bytes: A lower estimate.
      what: That needs it, with the flags that make it so large.
      remedy: What to change.

    Raises:
      UsageError: With both sizes.
    """
    available = available_bytes()
    if needed_bytes > available:
        raise UsageError(
            f"{what} needs {gibibytes(needed_bytes)} of memory, but only "
            f"{gibibytes(available)} are available: {remedy}."
        )


def gibibytes(size: int) -> str:
    """A size for people."""
    return f"{size / 2**30:,.3g} GiB"


def _lines(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
