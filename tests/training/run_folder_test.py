import json

import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.training.loop import Round
from tff_cnn.training.run_folder import MetricsWriter, RunFolder


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.write_config({"seed": 1})
    return folder


def write_rows(folder, numbers):
    writer = MetricsWriter(folder, folder.read_rows())
    for number in numbers:
        writer.after_round(Round(number, None, {"round": number, "x": 0.5}))
    return writer


def test_naming_a_folder_creates_nothing(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.check_usable()
    assert not folder.holds_run()
    assert list(tmp_path.iterdir()) == []


def test_config_marks_a_run(folder):
    assert folder.holds_run()
    assert folder.read_config() == {"seed": 1}
    assert folder.read_summary() is None


def test_rows_are_appended_and_truncated(folder):
    write_rows(folder, [1, 2, 3])
    assert [r["round"] for r in folder.read_rows()] == [1, 2, 3]
    assert [r["round"] for r in folder.truncate_rows(2)] == [1, 2]
    write_rows(folder, [3, 4])
    assert [r["round"] for r in folder.read_rows()] == [1, 2, 3, 4]


def test_a_line_cut_short_by_a_kill_is_dropped(folder):
    write_rows(folder, [1, 2])
    text = folder.metrics.read_text()
    for cut in range(1, len(text.splitlines()[1]) + 1):
        folder.metrics.write_text(text[:-cut])
        rows = [r["round"] for r in folder.read_rows()]
        # Cutting the newline alone leaves a whole row.
        assert rows == ([1, 2] if cut == 1 else [1])


def test_numbers_that_json_lacks_are_null(folder):
    writer = MetricsWriter(folder, [])
    writer.after_round(Round(1, None, {"round": 1, "x": float("nan")}))
    assert json.loads(folder.metrics.read_text()) == {"round": 1, "x": None}


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="holds 'thesis.tex'"):
        RunFolder(tmp_path).check_usable()
    with pytest.raises(UsageError, match="is a file"):
        RunFolder(tmp_path / "thesis.tex").check_usable()


def test_a_folder_killed_at_its_first_file_is_usable(tmp_path):
    (tmp_path / ".config.json.123.tmp").write_text("{")
    RunFolder(tmp_path).check_usable()


def test_a_damaged_config_is_named(folder):
    folder.config.write_text("{")
    with pytest.raises(UsageError, match="config.json cannot be read"):
        folder.read_config()
