import json
import resource

import pytest

from tff_cnn.core import files
from tff_cnn.core.errors import FailedRunError


def test_replaces_whole_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    files.write_atomically(path, b"old")
    files.write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    files.write_atomically(path, b"old")
    with pytest.raises(TypeError):
        files.write_atomically(path, "not bytes")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_json_is_strict():
    text = files.to_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": {}})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {}}
    assert "NaN" not in text and "Infinity" not in text


@pytest.mark.parametrize("limit", [0, 100])
def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(tmp_path, limit):
    path = tmp_path / "a.json"
    files.write_atomically(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(FailedRunError, match=r"a\.json.*too large\.$"):
            files.write_atomically(path, b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(FailedRunError, match=r"gone/a\.json.*No such file"):
        files.write_atomically(tmp_path / "gone" / "a.json", b"x")
