"""From where a run's folder stands; tests/experiments has real runs."""

import types

import pytest

from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import FixedClip
from tff_cnn.training import running
from tff_cnn.training.run_folder import RunFolder
from tff_cnn.training.run_secret import RunSecret

PRIVATE = RunConfig(dp=FixedClip(noise_multiplier=1.0))


def begun(tmp_path, **config) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.write_config({"flags": {}, **config})
    return folder


def test_the_secret_of_a_run_is_read_back(tmp_path):
    folder = begun(tmp_path, ledger="ledger.jsonl")
    drawn = RunSecret.new()
    drawn.save(folder.secret)
    found = running._load_secret(PRIVATE, folder)
    assert found.root("cohorts", 1) == drawn.root("cohorts", 1)
    folder.secret.unlink()
    with pytest.raises(UsageError, match=r"secret\.key"):
        running._load_secret(PRIVATE, folder)


def test_there_is_no_secret_to_read_without_noise_or_before_there_were_any(
    tmp_path,
):
    assert running._load_secret(PRIVATE, RunFolder(tmp_path / "new")) is None
    folder = begun(tmp_path)
    assert running._load_secret(PRIVATE, folder) is None
    assert running._load_secret(RunConfig(), folder) is None


def test_rounds_that_were_done_are_not_taken_back(tmp_path):
    config = RunConfig(rounds=3)
    running._check_not_beyond(3, config, RunFolder(tmp_path))
    with pytest.raises(UsageError, match="has 4 rounds already, more than"):
        running._check_not_beyond(4, config, RunFolder(tmp_path))


@pytest.mark.parametrize(
    ("accuracy", "target", "goes_on"),
    [(0.5, None, True), (0.5, 0.6, True), (0.5, 0.5, False), (None, 0.1, True)],
)
def test_a_run_goes_on_until_its_target(accuracy, target, goes_on):
    run = types.SimpleNamespace(
        config=RunConfig(target_accuracy=target), ledger=None
    )
    rows = [{"test_accuracy": accuracy}]
    assert running._goes_on(run, rows) is goes_on
    assert running._goes_on(run, [])
