"""secret.key: what nobody may know who is to believe a private run's epsilon.

Whoever has it knows who took part in which round, which amplification by
sampling assumes that nobody does, and can draw the noise again and subtract it.
It is needed to continue the run, and nothing else; delete it when the run is
finished.
"""

import dataclasses
import hashlib
import hmac
import os
import pathlib
import secrets
from typing import TYPE_CHECKING

from tff_cnn.core.errors import UsageError

if TYPE_CHECKING:  # It takes a moment, and mistakes are answered at once.
    import numpy as np

_NUM_BYTES = 32


@dataclasses.dataclass(frozen=True)
class RunSecret:
    """The root of a run's secret draws.

    Attributes:
      key: 32 bytes.
      is_known: NOT PRIVATE where true: it follows from the run's seed.
    """

    key: bytes = dataclasses.field(repr=False)
    is_known: bool = False

    @classmethod
    def new(cls) -> "RunSecret":
        """Drawn from the operating system's cryptographic generator."""
        return cls(secrets.token_bytes(_NUM_BYTES))

    @classmethod
    def deterministic(cls, seed: int) -> "RunSecret":
        """NOT PRIVATE: of a run whose noise is to be the same every time."""
        key = hashlib.sha256(f"test only {seed}".encode()).digest()
        return cls(key, is_known=True)

    @classmethod
    def load(cls, path: pathlib.Path) -> "RunSecret":
        """Reads secret.key.

        Raises:
          UsageError: It is missing or damaged.
        """
        try:
            key = bytes.fromhex(path.read_text("ascii").strip())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(
                f"{path} cannot be read ({reason}), but continuing this run "
                "needs it, for its cohorts and noise: put the file back or "
                "train in another <run_dir>."
            ) from error
        if len(key) != _NUM_BYTES:
            raise UsageError(
                f"{path} holds {len(key)} bytes, not {_NUM_BYTES}: put the "
                "file back as it was or train in another <run_dir>."
            )
        return cls(key)

    def save(self, path: pathlib.Path) -> None:
        """Writes secret.key, readable by its owner only.

        It replaces what a kill left half-written; no reader ever meets a file
        that others could read, or half of one.
        """
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            with open(os.open(temporary, flags, 0o600), "w") as file:
                file.write(self.key.hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def root(self, purpose: str, branch: int) -> int:
        """A root seed of 256 bits for one purpose of one branch of the run."""
        return int.from_bytes(self._derived(purpose, branch), "big")

    def noise_seed(self, branch: int) -> "np.ndarray":
        """The seed of the aggregation's noise: int64, shape [2]."""
        import numpy as np

        return np.frombuffer(self._derived("noise", branch)[:16], np.int64)

    def _derived(self, purpose: str, branch: int) -> bytes:
        message = f"{purpose} {branch}".encode()
        return hmac.digest(self.key, message, "sha256")
