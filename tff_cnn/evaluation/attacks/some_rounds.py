"""Rounds that a text names, as "5", "10-20,40" or "30-"."""

import dataclasses
import math
import re

from tff_cnn.core.errors import UsageError

_PART = re.compile(r"(\d+)(-(\d*))?")


@dataclasses.dataclass(frozen=True)
class SomeRounds:
    """Some of a run's rounds.

    Attributes:
      spans: First and last of each; the last may be infinite.
    """

    spans: tuple[tuple[int, float], ...]

    def __contains__(self, round_num: int) -> bool:
        return any(first <= round_num <= last for first, last in self.spans)

    @classmethod
    def parse(cls, text: str, name: str = "rounds") -> "SomeRounds":
        """What a text names.

        Args:
          text: Numbers and spans, with commas between them.
          name: Of the field that has it, for the message.

        Raises:
          UsageError: It names none.
        """
        spans = [_span(part) for part in text.split(",")]
        if None in spans:
            raise UsageError(
                f"{name}={text} must be rounds from 1 on, or spans of them, as "
                "5 or 10-20,40 or 30-."
            )
        return cls(tuple(spans))


def _span(part: str) -> tuple[int, float] | None:
    found = _PART.fullmatch(part.strip())
    if found:
        first = int(found[1])
        last = int(found[3]) if found[3] else math.inf if found[2] else first
        if 1 <= first <= last:
            return first, last
    return None
