"""Files that programs write where a flag says: checked first, written last."""

import pathlib
from typing import Any

from tff_cnn.core import paths
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import to_json, write_atomically


def check(path: str | None, flag: str, suffix: str | None = None) -> None:
    """Refuses a place that cannot be written to, before any work is done.

    Args:
      path: None or "": nothing is to be written.
      flag: The flag that names it, as "--json".
      suffix: What its name has to end with, as ".png".

    Raises:
      UsageError: With the reason.
    """
    if not path:
        return
    if suffix and pathlib.Path(path).suffix.lower() != suffix:
        raise UsageError(
            f"{flag}={path} must end with {suffix}: that is what is written."
        )
    paths.check_writable_file(path, flag)


def write(path: str | None, content: bytes) -> None:
    """Writes a file whole, and the folders above it; nothing without a path.

    Raises:
      FailedRunError: It could not be written.
    """
    if path:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(pathlib.Path(path), content)


def write_json(path: str | None, value: Any) -> None:
    """Writes figures as JSON.

    Raises:
      FailedRunError: They could not be written.
    """
    write(path, (to_json(value, indent=2) + "\n").encode())
