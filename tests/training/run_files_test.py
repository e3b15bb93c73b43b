import json

import pytest

from tests.training.run_folder_test import folder as folder
from tests.training.run_folder_test import write_rows
from tff_cnn.core.errors import UsageError


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"flags": []}',
        b"\xff",
        b"[" * 100_000,
        b'{"flags": {}',
    ],
    ids=range(9),
)
def test_a_damaged_config_is_named(folder, content):
    folder.config.write_bytes(content)
    with pytest.raises(UsageError, match=r"config\.json (cannot|names no)"):
        folder.read_config()


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b"null", b"[]", b"{}", b'{"rounds": "8"}', b"\xff"],
    ids=range(7),
)
def test_a_damaged_summary_is_named_with_a_remedy(folder, content):
    folder.summary.write_bytes(content)
    with pytest.raises(UsageError, match=r"summary\.json"):
        folder.read_summary()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: lines[1:], "round 2 instead of 1"),
        (lambda lines: lines[:1] + lines[2:], "round 3 instead of 2"),
        (lambda lines: [lines[0], *lines], "round 1 instead of 2"),
        (lambda lines: [b"garbage\n", *lines[1:]], "line 1"),
        (lambda lines: [b"null\n", *lines[1:]], "it is no object"),
        (lambda lines: [b"\xff\n", *lines[1:]], "line 1"),
        (
            lambda lines: [lines[0].replace(b"0.5", b'"0.5"'), *lines[1:]],
            "seconds is '0.5'",
        ),
        (
            lambda lines: [lines[0].replace(b"epsilon", b"e"), *lines[1:]],
            "epsilon is missing",
        ),
        (
            lambda lines: [lines[0].replace(b"{", b'{"a": {}, '), *lines[1:]],
            "a is {}",
        ),
        (
            lambda lines: [lines[0].replace(b"30", b"null"), *lines[1:]],
            "examples is None",
        ),
        (
            lambda lines: [lines[0].replace(b"30", b"true"), *lines[1:]],
            "examples is True",
        ),
    ],
)
def test_rows_that_are_missing_or_changed_are_noticed(folder, change, reason):
    write_rows(folder, [1, 2, 3])
    lines = folder.metrics.read_bytes().splitlines(keepends=True)
    folder.metrics.write_bytes(b"".join(change(lines)))
    before = folder.metrics.read_bytes()
    with pytest.raises(UsageError, match=reason):
        folder.truncate_rows(3)
    assert folder.metrics.read_bytes() == before


def test_every_part_of_a_summary_that_is_shown_must_be_there(folder):
    whole = {
        "rounds": 1,
        "test_accuracy": 0.5,
        "test_loss": None,
        "evaluated_on": "test",
        "target_accuracy": None,
        "rounds_to_target": None,
        "epsilon": 1,
        "delta": 1e-3,
        "noise_multiplier": 1.0,
        "stopped_by_epsilon": False,
        "is_private": True,
        "seconds_per_round": 0.1,
        "examples_per_second": 10,
        "clients_excluded": 0,
        "num_parameters": 3,
        "weights_sha256": "x",
        "privacy": {"guarantee": "", "stages": []},
    }

    def read(content):
        folder.summary.write_text(json.dumps(content))
        return folder.read_summary()

    assert read(whole) == whole
    for name in whole:
        without = {key: value for key, value in whole.items() if key != name}
        with pytest.raises(UsageError, match=f"no {name}"):
            read(without)
        with pytest.raises(UsageError, match=f"no {name}"):
            read({**whole, name: [1]})
    for key in whole["privacy"]:
        with pytest.raises(UsageError, match=f"no privacy.{key}"):
            read({**whole, "privacy": {**whole["privacy"], key: 1}})
