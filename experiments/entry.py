"""How every binary starts, and how it ends when asked for the impossible."""

import logging
import os
import re
import sys
from collections.abc import Callable

from absl import app, flags
from absl import logging as absl_logging

from tff_cnn.core.errors import FailedRunError, UsageError

HELP_FLAGS = {"--help", "-help", "--helpshort", "--helpfull", "-h"}

# TensorFlow reports at the error level that no GPU library is there, three
# lines a process. Set it to 0 to see everything.
_LOG_LEVEL = "3"


def run(main: Callable[[list[str]], None], parse: bool = True) -> None:
    """Parses flags and runs `main(argv)`, where argv is what was typed.

    With `parse` false `main` has no flags.

    A mistake ends with one sentence and status 2, a failure from outside with
    one sentence and status 1.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _LOG_LEVEL)
    # Keras warns of every uncompiled model that it saves.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # TensorFlow Datasets warns of every folder that is not there.
    absl_logging.set_verbosity(absl_logging.ERROR)
    argv = list(sys.argv)
    # Not `app.run`: it marks absl as initialized, and TensorFlow 2.14 imported
    # after that (as it is here, so that mistakes and help answer at once)
    # looks for devices in the middle of its import, which leaves Keras broken.
    app.define_help_flags()
    try:
        if parse:
            _parse(argv)
        main(argv)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except FailedRunError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit:
        if HELP_FLAGS & set(argv):  # absl ends its help with status 1.
            sys.exit(0)
        raise


def _parse(argv: list[str]) -> None:
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        raise UsageError(_readable(str(error))) from error
    if len(rest) > 1:
        raise UsageError(
            f"unexpected argument {rest[1]!r}: everything is a flag, "
            "--name=value (see --help)."
        )


def _readable(message: str) -> str:
    """absl's message of a flag's mistake, without what Python says of it."""
    message = re.sub(
        "invalid literal for int.*", "expected an integer", message
    )
    message = re.sub(
        "could not convert string to float.*", "expected a number", message
    )
    return f"{message.rstrip('.')}."
