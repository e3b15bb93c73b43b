import pickle

import pytest

from tff_cnn.core.errors import FailedRunError, UsageError


@pytest.mark.parametrize("kind", [UsageError, FailedRunError])
def test_fields_are_named_as_whoever_speaks_names_them(kind):
    error = kind("<dp.clip_norm>=0 must be positive: use <dp>=none; 1 < 2 > 0.")
    said = "dp.clip_norm=0 must be positive: use dp=none; 1 < 2 > 0."
    assert str(error) == said
    assert error.told(lambda path: f"--{path}").startswith("--dp.clip_norm=0")
    assert str(pickle.loads(pickle.dumps(error))) == said
    assert error._render_traceback_() == [f"{kind.__name__}: {said}"]


def test_names_of_fields_may_have_digits():
    error = UsageError("<algorithm.kappa2>=0 is none, <x1>=2 is.")
    assert str(error) == "algorithm.kappa2=0 is none, x1=2 is."


def test_what_a_person_gave_stays_as_it_was():
    text = "<run_dir>=/tmp/<Rounds>/<1> is a file."
    assert str(UsageError(text)) == "run_dir=/tmp/<Rounds>/<1> is a file."
    assert isinstance(UsageError("x"), ValueError)
    assert isinstance(FailedRunError("x"), RuntimeError)
