"""How every binary starts, and how it ends when asked for the impossible."""

import os
import sys
from collections.abc import Callable

from absl import app, flags

from tff_cnn.core.errors import UsageError

_HELP_FLAGS = {"--help", "-help", "--helpshort", "--helpfull", "-h"}

# TensorFlow reports at the error level that no GPU library is there, three
# lines a process. Set it to 0 to see everything.
_LOG_LEVEL = "3"


def run(main: Callable[[list[str]], None]) -> None:
    """Parses flags and runs `main(argv)`, where argv is what was typed.

    A mistake ends with one sentence and status 2, Ctrl-C with status 130.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _LOG_LEVEL)
    argv = list(sys.argv)
    # Not `app.run`: it marks absl as initialized, and TensorFlow 2.14 imported
    # after that (as it is here, so that mistakes and help answer at once)
    # looks for devices in the middle of its import, which leaves Keras broken.
    app.define_help_flags()
    try:
        _parse(argv)
        main(argv)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit:
        if _HELP_FLAGS & set(argv):  # absl ends its help with status 1.
            sys.exit(0)
        raise


def _parse(argv: list[str]) -> None:
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        raise UsageError(f"{str(error).rstrip('.')}.") from error
    if len(rest) > 1:
        raise UsageError(
            f"unexpected argument {rest[1]!r}: everything is a flag, "
            "--name=value (see --help)."
        )
