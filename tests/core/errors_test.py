from tff_cnn.core import errors


def test_callers_without_flags_can_catch_them_as_what_they_are():
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.FailedRunError, RuntimeError)
