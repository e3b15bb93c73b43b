import json

import pytest

from tff_cnn.core import files


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
