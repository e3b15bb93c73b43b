from tff_cnn.core.errors import UsageError


def test_is_a_value_error_so_that_callers_without_flags_can_catch_it():
    assert issubclass(UsageError, ValueError)
