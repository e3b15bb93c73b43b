"""From where a run's folder stands; tests/experiments has real runs."""

import types

import numpy as np
import pytest

from tff_cnn import identity
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import FixedClip
from tff_cnn.privacy.ledger import Ledger, StagedLedger
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.training import running
from tff_cnn.training.checkpoints import Checkpoints
from tff_cnn.training.releases import Releases
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


@pytest.mark.parametrize("is_branch", [False, True])
def test_a_branch_that_begins_shares_no_noise_with_the_one_before(
    tmp_path, monkeypatch, is_branch
):
    """Tree aggregation has drawn the next round's nodes already."""
    mechanism = FixedClipGaussian(0.3, 1.0, 5.0, Participation("full", 1.0))
    run = types.SimpleNamespace(
        config=PRIVATE.resolved(),
        engine=lambda scratch: types.SimpleNamespace(
            initialize=lambda: np.float32(0), weights=lambda state: [state]
        ),
        ledger=StagedLedger([Ledger(mechanism, 1e-3)]),
        secret=RunSecret.deterministic(0),
        is_repeatable=True,
    )
    folder = RunFolder(tmp_path)
    releases = Releases(folder.ledger)
    releases.begin(after=0)
    if is_branch:
        releases.record(1, "state of a branch that was left")
        releases.begin(after=0)
        Checkpoints(
            folder.checkpoints,
            identity.fingerprint(run.config),
            run.config.rounds,
            ledger=run.ledger,
        ).save(0, np.float32(0))
    begun_with = []
    monkeypatch.setattr(running, "with_new_tree", lambda *_: np.float32(7))
    monkeypatch.setattr(
        running.rounds,
        "run_rounds",
        lambda *parts: begun_with.append(parts[3]),
    )
    monkeypatch.setattr(running.ending, "finish", lambda *parts: {})
    monkeypatch.setattr(running, "_costs", lambda run: "")
    running.train(run, folder, {})
    (standing,) = begun_with
    assert standing.state == (7 if is_branch else 0)
    assert standing.done == 0
    # What the other branch has released stays on the bill.
    assert run.ledger.stages[0].abandoned == (((1, 1),) if is_branch else ())
    assert folder.read_config()["ledger"] == "ledger.jsonl"
    assert set(folder.checkpoint_rounds()) == {0}
