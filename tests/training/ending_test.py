"""The summary is written last: it says that all the rest is there."""

import types

import pytest

from tff_cnn.config import RunConfig
from tff_cnn.training import ending
from tff_cnn.training.run_folder import RunFolder

ROW = {
    "round": 1,
    "cohort_size": 2,
    "clients_excluded": 0,
    "train_loss": 2.0,
    "train_accuracy": 0.1,
    "epsilon": None,
    "delta": None,
    "examples": 20,
    "seconds": 0.5,
    "test_loss": 2.0,
    "test_accuracy": 0.25,
}


@pytest.fixture
def parts(digits, tmp_path):
    from tff_cnn import tasks
    from tff_cnn.data.partitioners import iid
    from tff_cnn.models.cnn import digits_cnn

    run = types.SimpleNamespace(
        config=RunConfig().resolved(),
        task=tasks.build_task(digits, iid, 20, digits_cnn, 0),
        ledger=None,
        is_amplified=False,
        sampler=types.SimpleNamespace(num_clients=20),
    )
    final = run.task.model.get_weights()
    return run, RunFolder(tmp_path), [ROW], final, final, None


def test_all_that_is_promised_is_there(parts):
    result = ending.finish(*parts)
    _, folder, *_ = parts
    assert folder.read_summary()["test_accuracy"] == 0.25
    assert result["rounds"] == 1 and result["is_private"] is False
    assert folder.curves.read_bytes()[1:4] == b"PNG"
    assert (folder.export / "model.keras").is_file()
    assert (folder.export / "PRIVACY.md").is_file()


def test_an_algorithm_may_say_how_its_model_is_to_be_read(parts):
    run, *_ = parts
    assert "note" not in ending.finish(*parts)
    run.config = RunConfig(algorithm="fedper").resolved()
    assert "initial head" in ending.finish(*parts)["note"]


def test_without_a_model_there_is_no_summary(parts, monkeypatch):
    def fails(*parts):
        raise OSError("no space")

    monkeypatch.setattr(ending.export, "export", fails)
    with pytest.raises(OSError):
        ending.finish(*parts)
    assert parts[1].read_summary() is None
