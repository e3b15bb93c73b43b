"""Binaries: flags exist only here."""

import os
import signal
import sys


def end_at_once(number, frame) -> None:
    """Handler of Ctrl-C while a program imports what it needs."""
    del number, frame
    os.write(2, b"\nInterrupted.\n")
    os._exit(130)


# `python -m experiments.train` comes here first, with this in the place of the
# program's name. Nothing is begun yet, so nothing has to be put in order; a
# KeyboardInterrupt would be a stack trace, or get lost in a compiled module.
# `experiments.entry` ends this.
if (
    sys.argv[:1] == ["-m"]
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, end_at_once)
