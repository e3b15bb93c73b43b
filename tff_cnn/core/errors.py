"""The one exception that means: the user asked for something impossible."""


class UsageError(ValueError):
    """A mistake in what was asked for, not a defect of the program.

    Its message is one sentence: the value found, what was expected, the
    remedy. Entry points print it without a stack trace and exit with status 2.
    """
