"""Exceptions whose message is all that a person needs to see.

A message names a field of the configuration as `<dp.clip_norm>`. As a text that
is "dp.clip_norm"; who speaks another language, as flags are, asks for it with
`told`.
"""

import re
import textwrap
from collections.abc import Callable
from typing import Any

_FIELD = re.compile(r"<([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)?)>")


class _SentenceError(Exception):
    """One sentence, which may name fields."""

    def __str__(self) -> str:
        return self.told(lambda path: path)

    def told(self, name_of: Callable[[str], str]) -> str:
        """The message, with `name_of(path)` for each field that it names."""
        return _FIELD.sub(lambda found: name_of(found[1]), super().__str__())

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the sentence, and not where it was found."""
        return [f"{type(self).__name__}: {self}"]


def shown(value: Any) -> str:
    """What a person gave, in one line that is not too long."""
    return textwrap.shorten(repr(value), 60, placeholder="...")


class UsageError(_SentenceError, ValueError):
    """A mistake in what was asked for, not a defect of the program.

    Its message is one sentence: the value found, what was expected, the
    remedy. Entry points print it without a stack trace and exit with status 2.
    """


class FailedRunError(_SentenceError, RuntimeError):
    """Something outside the program failed; what was finished is saved.

    Its message is one sentence. Entry points print it without a stack trace
    and exit with status 1.
    """
