"""The protocol, by an engine of the test's own through all that is generic."""

import copy
import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.core.weights import num_bytes
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.training import hooks, loop, summary
from tff_cnn.training.checkpoints import Checkpoints, state_digest
from tff_cnn.training.diagnostics import DiagnosticsHook
from tff_cnn.training.engine import StepResult, Work
from tff_cnn.training.releases import Releases
from tff_cnn.training.run_folder import MetricsWriter, RunFolder
from tff_cnn.training.tensorboard import TensorBoardWriter

ROUNDS = 6
NUM_CLIENTS = 9


class Buffered(NamedTuple):
    """The state.

    Attributes:
      weights: Two arrays, of 2 and 1 numbers.
      clock: Hours since the run began.
      ring: [3, 3]: all weights now, a round ago and two rounds ago.
    """

    weights: tuple[np.ndarray, ...]
    clock: np.int64
    ring: np.ndarray


class Arrival(NamedTuple):
    client: int
    hour: int
    staleness: int


@dataclasses.dataclass(frozen=True)
class BufferedToy:
    """FedBuff in small (Nguyen et al. 2022, Algorithm 1).

    A round is `buffer_size` arrivals, of clients that began with the weights of
    `staleness` rounds ago, pull them towards a number of their own, and count
    1 / sqrt(1 + staleness). Who arrives when follows from the seed.
    """

    seed: int
    buffer_size: int = 3

    def initialize(self):
        weights = (np.zeros(2, np.float32), np.ones(1, np.float32))
        ring = np.tile(np.concatenate(weights), (3, 1))
        return Buffered(weights, np.int64(0), ring)

    def plan(self, number):
        rng = np.random.default_rng((self.seed, number))
        arrivals = [
            Arrival(*map(int, drawn))
            for drawn in zip(
                rng.choice(NUM_CLIENTS, self.buffer_size),
                np.sort(rng.integers(1, 24, self.buffer_size)),
                rng.integers(0, min(number, 3), self.buffer_size),
                strict=True,
            )
        ]
        return Work(number, [a.client for a in arrivals], arrivals)

    def step(self, state, work):
        updates = [
            (state.ring[a.staleness] - a.client) / (1 + a.staleness) ** 0.5
            for a in work.data
        ]
        flat = np.concatenate(state.weights) - 0.1 * np.mean(updates, axis=0)
        flat = flat.astype(np.float32)
        row = {
            "cohort_size": len(work.cohort),
            "clients_excluded": 0,
            "train_loss": float(np.mean(np.square(updates))),
            "train_accuracy": None,
            "mean_staleness": float(np.mean([a.staleness for a in work.data])),
        }
        after = Buffered(
            (flat[:2], flat[2:]),
            state.clock + work.data[-1].hour,
            np.concatenate([flat[None], state.ring[:-1]]),
        )
        return StepResult(after, row)

    def weights(self, state):
        return state.weights


def evaluate(weights):
    """The mean of all clients' points is 4."""
    distance = float(np.abs(np.concatenate(weights) - 4).mean())
    return {"loss": distance, "accuracy": 1 / (1 + distance)}


@dataclasses.dataclass
class Ended:
    """A run that has come to its end, and its folder."""

    state: Buffered
    rows: list
    folder: RunFolder
    ledger: Ledger


def run(folder, last_round=ROUNDS, target=None, engine=None):
    """From the newest checkpoint on, with all hooks that a private run has."""
    engine = engine or BufferedToy(seed=1)
    mechanism = FixedClipGaussian(
        1.0, 2.0, 3.0, Participation("poisson", 3 / NUM_CLIENTS)
    )
    ledger = Ledger(mechanism, 1e-3)
    folder.path.mkdir(parents=True, exist_ok=True)
    releases = Releases(folder.ledger)
    if not releases.branch:
        releases.begin(after=0)
    checkpoints = Checkpoints(
        folder.checkpoints, "toy", last_round, 2, 3, ledger, releases
    )
    done, state, refused = checkpoints.load_latest(engine.initialize())
    assert refused == []
    rows = folder.truncate_rows(done)
    weights = engine.weights(state)
    board = TensorBoardWriter(folder.tensorboard, rows)
    bar = hooks.ProgressBar(done + 1, last_round)
    state = loop.run_rounds(
        engine,
        state,
        range(done + 1, last_round + 1),
        [
            hooks.LedgerHook(ledger),
            DiagnosticsHook(mechanism, 3, last_round, rows),
            hooks.CostHook(num_bytes(weights), lambda cohort, _: len(cohort)),
            hooks.EvaluationHook({"test": evaluate}, last_round, 1, target),
            MetricsWriter(folder, rows),
            checkpoints,
            board,
            bar,
        ],
        releasing=[hooks.ReleaseHook(releases)],
    )
    bar.close()
    board.close()
    return Ended(state, folder.read_rows(), folder, ledger)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(RunFolder(tmp_path_factory.mktemp("toy") / "run"))


def by_hand(rounds):
    """The same without a loop: (state, rows of the engine)."""
    engine, rows = BufferedToy(seed=1), []
    state = engine.initialize()
    for number in range(1, rounds + 1):
        result = engine.step(state, engine.plan(number))
        state = result.state
        rows.append(result.row)
    return state, rows


def untimed(rows):
    return [
        {k: v for k, v in row.items() if "seconds" not in k} for row in rows
    ]


def test_an_engine_of_another_kind_goes_through_the_loop(whole):
    state, rows = by_hand(ROUNDS)
    assert state_digest(whole.state) == state_digest(state)
    assert state.clock > ROUNDS
    for number, (row, of_engine) in enumerate(
        zip(whole.rows, rows, strict=True), 1
    ):
        assert row["round"] == number
        assert row.items() >= of_engine.items()
        # One float32 weight beside three.
        assert (row["bytes_down"], row["bytes_up"]) == (3 * 12, 3 * 16)
        assert row["examples"] == 3 and row["noise_stddev"] == 2 / 3
        assert row["mean_update_norm"] is None
    assert [r["epsilon"] for r in whole.rows][-1] == whole.ledger.epsilon()
    assert whole.ledger.rounds == ROUNDS
    losses = [row["test_loss"] for row in whole.rows]
    assert losses[-1] == evaluate(state.weights)["loss"] < losses[0]


def test_its_rows_are_those_that_summaries_take(whole):
    found = summary.summarize(
        whole.rows, whole.state.weights, None, whole.ledger, False, "test"
    )
    assert found["rounds"] == ROUNDS and found["num_parameters"] == 3
    assert found["clients_excluded"] == 0
    assert found["diverged_in_round"] is None


@pytest.mark.parametrize("killed_after", [2, 3])
def test_it_resumes_as_if_nothing_had_been(whole, tmp_path, killed_after):
    folder = RunFolder(tmp_path / "run")
    run(folder, killed_after)
    if killed_after == 3:  # Which was its last, so that there is one of it.
        (folder.checkpoints / "round_000003.npz").unlink()
    resumed = run(folder)
    assert state_digest(resumed.state) == state_digest(whole.state)
    assert untimed(resumed.rows) == untimed(whole.rows)
    assert resumed.ledger.rounds == ROUNDS
    assert Releases(folder.ledger).last_round == ROUNDS
    assert Releases(folder.ledger).branch == 1


def test_a_dropped_step_leaves_nothing_behind(whole, tmp_path):
    """The hooks of round 3 stop the run while round 4 is being computed."""
    steps = []

    class Counting(BufferedToy):
        def step(self, state, work):
            steps.append(work.number)
            return super().step(state, work)

    target = whole.rows[2]["test_accuracy"]
    assert whole.rows[1]["test_accuracy"] < target
    folder = RunFolder(tmp_path / "run")
    stopped = run(folder, target=target, engine=Counting(seed=1))
    assert steps == [1, 2, 3, 4]
    state, _ = by_hand(3)
    assert state_digest(stopped.state) == state_digest(state)
    assert untimed(stopped.rows) == untimed(whole.rows[:3])
    assert stopped.ledger.rounds == 3
    assert list(folder.checkpoint_rounds()) == [3, 2]
    # And going on, round 4 is that of a run that never stopped.
    resumed = run(folder)
    assert state_digest(resumed.state) == state_digest(whole.state)


def test_a_step_changes_nothing_but_its_result():
    engine = BufferedToy(seed=1)
    state = engine.initialize()
    for number in range(1, 4):
        work = engine.plan(number)
        before = copy.deepcopy((state, work))
        first, second = engine.step(state, work), engine.step(state, work)
        assert state_digest(first.state) == state_digest(second.state)
        assert first.row == second.row
        assert work == before[1] == engine.plan(number)
        tf.nest.map_structure(np.testing.assert_array_equal, state, before[0])
        state = first.state
