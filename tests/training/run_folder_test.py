import json
import os

import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.training.loop import Round
from tff_cnn.training.releases import Releases
from tff_cnn.training.run_folder import MetricsWriter, RunFolder
from tff_cnn.training.run_secret import RunSecret


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.write_config({"flags": {}, "seed": 1})
    return folder


def row(number, **values):
    return {
        "round": number,
        "cohort_size": 3,
        "clients_excluded": 0,
        "examples": 30,
        "seconds": 0.5,
        "train_loss": 1.5,
        "test_accuracy": None,
        "test_loss": None,
        "epsilon": None,
        "delta": None,
        **values,
    }


def write_rows(folder, numbers):
    writer = MetricsWriter(folder, folder.read_rows())
    for number in numbers:
        writer.after_round(Round(number, None, row(number)))
    return writer


def test_naming_a_folder_creates_nothing(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.check_usable()
    assert not folder.holds_run()
    assert list(tmp_path.iterdir()) == []


def test_config_marks_a_run(folder):
    assert folder.holds_run()
    assert folder.read_config() == {"flags": {}, "seed": 1}
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


def test_rows_that_a_checkpoint_knows_of_must_be_there(folder):
    write_rows(folder, [1, 2])
    with pytest.raises(UsageError, match="ends with round 2, but there is a"):
        folder.truncate_rows(3)
    folder.metrics.unlink()
    with pytest.raises(UsageError, match="ends with round 0"):
        folder.truncate_rows(3)


def test_a_folder_where_a_file_belongs_and_the_reverse(folder):
    folder.metrics.mkdir()
    with pytest.raises(UsageError, match=r"metrics\.jsonl is not a file"):
        folder.check_usable()
    folder.metrics.rmdir()
    folder.checkpoints.write_text("")
    with pytest.raises(UsageError, match="checkpoints is not a folder"):
        folder.check_usable()
    folder.checkpoints.unlink()
    os.symlink("nowhere", folder.secret)
    with pytest.raises(UsageError, match=r"secret\.key is not a file"):
        folder.check_usable()


def test_a_held_folder_leaves_no_trace_where_nothing_was_written(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "one")
    with folder.held():
        assert folder.path.is_dir()
    assert list(tmp_path.iterdir()) == []
    with folder.held():
        folder.write_config({"flags": {}})
    assert [p.name for p in folder.path.iterdir()] == ["config.json"]
    with folder.held():
        assert folder.read_config() == {"flags": {}}


def test_a_private_run_begins_with_secret_and_ledger(tmp_path):
    folder = RunFolder(tmp_path / "run")
    releases = Releases(folder.ledger)
    folder.begin_ledger(releases, RunSecret.new(), 0)
    assert (releases.branch, releases.last_round) == (1, 0)
    assert RunSecret.load(folder.secret)
    folder.check_usable()  # Killed here, the run can begin again.
    releases.record(1, "state")
    with pytest.raises(UsageError, match=r"holds 'ledger\.jsonl' but no"):
        folder.check_usable()


def test_a_known_secret_is_not_kept(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin_ledger(Releases(folder.ledger), RunSecret.deterministic(0), 0)
    assert not folder.secret.exists() and folder.keeps_ledger()


@pytest.mark.parametrize(("num_rows", "done"), [(3, 2), (2, 2), (0, 2)])
def test_rounds_of_a_run_from_before_ledgers_are_counted(
    folder, num_rows, done
):
    write_rows(folder, range(1, num_rows + 1))
    assert not folder.keeps_ledger()
    releases = Releases(folder.ledger)
    folder.begin_ledger(releases, RunSecret.new(), done)
    assert releases.last_round == max(num_rows, done)
    assert releases.num_unsecret == releases.last_round
    folder.ledger.unlink()
    assert folder.keeps_ledger()
    with pytest.raises(UsageError, match=r"ledger\.jsonl is missing"):
        folder.begin_ledger(Releases(folder.ledger), RunSecret.new(), done)


def test_checkpoints_of_an_abandoned_branch_go(folder):
    folder.checkpoints.mkdir()
    for number in (0, 7, 12, 1_000_000):
        (folder.checkpoints / f"round_{number:06d}.npz").write_bytes(b"")
    (folder.checkpoints / "notes.txt").write_text("mine")
    assert list(folder.checkpoint_rounds()) == [1_000_000, 12, 7, 0]
    folder.discard_checkpoints_after(7)
    assert list(folder.checkpoint_rounds()) == [7, 0]
    assert (folder.checkpoints / "notes.txt").exists()
