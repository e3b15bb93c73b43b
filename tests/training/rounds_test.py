"""The rounds of a run on an engine that computes next to nothing."""

import dataclasses
import types

import numpy as np
import pytest

from tff_cnn.algorithms import Adversarial
from tff_cnn.config import RunConfig
from tff_cnn.privacy import FixedClip
from tff_cnn.training import rounds
from tff_cnn.training.checkpoints import Checkpoints
from tff_cnn.training.engine import StepResult, Work
from tff_cnn.training.releases import Releases
from tff_cnn.training.run_folder import RunFolder


@dataclasses.dataclass
class Counting:
    """Its state is the number of rounds; all weights are that number."""

    initial: list
    stops_in: int | None = None

    def initialize(self):
        return np.float32(0)

    def plan(self, number):
        return Work(number, range(number), None)

    def step(self, state, work):
        if work.number == self.stops_in:
            raise KeyboardInterrupt
        row = {
            "cohort_size": len(work.cohort),
            "clients_excluded": 0,
            "train_loss": None,
            "train_accuracy": None,
        }
        return StepResult(state + np.float32(1), row)

    def weights(self, state):
        return [np.full_like(w, state) for w in self.initial]


@pytest.fixture(scope="module")
def task(digits):
    from tff_cnn import tasks
    from tff_cnn.data.partitioners import iid
    from tff_cnn.models.cnn import digits_cnn

    return tasks.build_task(digits, iid, 20, digits_cnn, 0)


@pytest.fixture
def begin(task, tmp_path):
    def begin(stops_in=None, **changes):
        config = RunConfig(
            rounds=4, checkpoint_every=100, client_epochs=2, **changes
        )
        run = types.SimpleNamespace(
            config=config,
            task=task,
            ledger=None,
            central=None,
            count_examples=lambda cohort, number: (
                2 * sum(map(task.clients.num_examples, cohort))
            ),
        )
        folder = RunFolder(tmp_path)
        engine = Counting(task.model.get_weights(), stops_in)
        checkpoints = Checkpoints(folder.checkpoints, "x", 4, 100)
        checkpoints.save(0, engine.initialize())
        standing = rounds.Standing(
            0, engine.initialize(), [], checkpoints, None
        )
        return run, engine, folder, standing

    return begin


def test_every_round_has_a_row_and_the_last_a_checkpoint(begin):
    run, engine, folder, standing = begin()
    assert rounds.run_rounds(run, engine, folder, standing) == 4
    rows = folder.read_rows()
    assert rows == standing.rows
    assert [row["round"] for row in rows] == [1, 2, 3, 4]
    # Two epochs of the clients 0, then 0 and 1, and so on.
    sizes = np.cumsum([run.task.clients.num_examples(c) for c in range(4)])
    assert [row["examples"] for row in rows] == list(2 * sizes)
    assert rows[0]["bytes_down"] == 5450 * 4 and rows[0]["epsilon"] is None
    assert all(0 <= row["test_accuracy"] <= 1 for row in rows)
    assert set(folder.checkpoint_rounds()) == {0, 4}


def test_an_interrupt_saves_what_was_done(begin):
    run, engine, folder, standing = begin(stops_in=3)
    with pytest.raises(KeyboardInterrupt):
        rounds.run_rounds(run, engine, folder, standing)
    assert set(folder.checkpoint_rounds()) == {0, 2}
    assert len(folder.read_rows()) == 2


def test_evaluations_are_as_rare_as_asked_and_end_at_the_target(begin):
    run, engine, folder, standing = begin(eval_every=3, target_accuracy=0.01)
    assert rounds.run_rounds(run, engine, folder, standing) == 3
    found = [row["test_accuracy"] for row in folder.read_rows()]
    assert found[:2] == [None, None] and found[2] >= 0.01


def test_a_model_that_is_to_stand_attacks_is_attacked(begin):
    attacks = Adversarial(
        adversarial_epsilon=1.0, robust_eval_steps=2, robust_eval_every=3
    )
    run, engine, folder, standing = begin(algorithm=attacks)
    rounds.run_rounds(run, engine, folder, standing)
    found = [row["test_robust_accuracy"] for row in folder.read_rows()]
    assert found[:2] == [None, None]
    # All weights are equal, and so are all logits: nothing can be attacked.
    accuracies = [row["test_accuracy"] for row in folder.read_rows()]
    assert found[2:] == pytest.approx(accuracies[2:])
    assert (
        rounds._robustness(types.SimpleNamespace(config=RunConfig(), task=None))
        == []
    )


def test_a_private_run_is_recorded_ahead(tmp_path):
    assert rounds._recording(None) == []
    (hook,) = rounds._recording(Releases(tmp_path / "ledger.jsonl"))
    assert type(hook).__name__ == "ReleaseHook"


def test_rows_have_the_time_of_a_clock(begin):
    run, engine, folder, standing = begin(client_speed="equal")
    run.simulated_seconds = lambda number: 1.5 * number
    rounds.run_rounds(run, engine, folder, standing)
    found = [row["simulated_time"] for row in folder.read_rows()]
    assert found == [1.5, 4.5, 9.0, 15.0]


@pytest.mark.parametrize("name", ["_private_metrics", "_canary_hooks"])
def test_what_is_not_asked_for_hangs_on_no_round(name):
    for dp in (None, FixedClip(epsilon=1.0)):
        run = types.SimpleNamespace(config=RunConfig(dp=dp), central=None)
        count = {"_private_metrics": 2, "_canary_hooks": 4}[name]
        rest = [None] * (count - 1)
        assert getattr(rounds, name)(run, *rest) == []
    assert rounds._diagnostics(run, None, None) == []
