"""Writing files so that no reader, and no kill, ever meets half of one."""

import contextlib
import json
import math
import os
import pathlib
from typing import Any

from tff_cnn.core.errors import FailedRunError


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Replaces `path` by `content`: afterwards it is the old one or the new.

    Raises:
      FailedRunError: A full disk, a folder that is gone, and so on.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise FailedRunError(
            f"{path} could not be written: {error.strerror}."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON: numbers that JSON lacks (NaN, infinities) become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
