import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.evaluation.attacks.some_rounds import SomeRounds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", [5]),
        ("1-3,5", [1, 2, 3, 5]),
        ("2, 6-", [2, 6, 7, 8, 9]),
        ("9-,1-1", [1, 9]),
    ],
)
def test_rounds_are_those_of_the_text(text, expected):
    found = SomeRounds.parse(text)
    assert [number for number in range(10) if number in found] == expected


@pytest.mark.parametrize("text", ["", "0", "5-3", "-3", "a", "1,,2", "1.5"])
def test_what_names_no_rounds(text):
    with pytest.raises(UsageError, match=r"^rounds=.* must be rounds from 1"):
        SomeRounds.parse(text)
