"""Exceptions whose message is all that a person needs to see."""


class UsageError(ValueError):
    """A mistake in what was asked for, not a defect of the program.

    Its message is one sentence: the value found, what was expected, the
    remedy. Entry points print it without a stack trace and exit with status 2.
    """


class FailedRunError(RuntimeError):
    """Something outside the program failed; what was finished is saved.

    Its message is one sentence. Entry points print it without a stack trace
    and exit with status 1.
    """
