import dataclasses
import types

import numpy as np
import pytest

from tff_cnn.algorithms.local_rule import LocalRule
from tff_cnn.core.client_states import ClientStates
from tff_cnn.training.checkpoints import Checkpoints, state_digest
from tff_cnn.training.engine import Work
from tff_cnn.training.engines import stateful
from tff_cnn.training.engines.stateful import Stateful

SIZE = 4
COHORTS = ([0, 2], [2, 1], [0], [2])


class Counting:
    """A process whose clients count their rounds, and the server all."""

    initial_kept = np.zeros(SIZE, np.float32)
    weight_bytes, extra_bytes, bytes_up = 90, 10, 10

    def __init__(self):
        self.process = types.SimpleNamespace(
            initialize=lambda: np.zeros(1), next=self._next
        )

    def _next(self, state, data):
        kept = [element["kept"] + element["number"] for (element,) in data]
        metrics = {
            "client_work": {
                "train": {"loss": 2.0, "accuracy": 0.5},
                "num_nonfinite_clients": 0,
            },
            "aggregator": (),
        }
        return state + sum(kept)[:1], kept, metrics

    def weights(self, state):
        return [state]

    def personal_weights(self, state, kept):
        return [state, kept]


def engine():
    return Stateful(
        Counting(),
        lambda number: COHORTS[number - 1],
        lambda client, number: [{"number": np.float32(10**client)}],
        ClientStates(Counting.initial_kept),
    )


def after(rounds, state=None, first=1):
    made = engine()
    state = made.initialize() if state is None else state
    for number in range(first, rounds + 1):
        result = made.step(state, made.plan(number))
        state = result.state
    return state, result.row


def test_what_a_client_keeps_is_what_it_hands_over_next():
    state, row = after(3)
    kept = [values[0] for values in state.clients.of(range(4))]
    assert kept == [2, 10, 200, 0]
    assert state.server == [101 + 210 + 2]
    assert row["cohort_size"] == 1 and row["train_loss"] == 2
    assert (row["bytes_down"], row["bytes_up"]) == (100, 10)
    model, mine = engine().personal_weights(state, 2)
    assert model == state.server and list(mine) == [200] * SIZE
    assert engine().weights(state) == [state.server]


def test_candidates_that_are_not_chosen_keep_what_they_had():
    def second(weights, work):
        return Work(work.number, work.cohort[1:], work.data[1:])

    made = dataclasses.replace(engine(), narrow=second)
    state = made.initialize()
    result = made.step(state, made.plan(1))
    kept = [values[0] for values in result.state.clients.of(range(4))]
    assert kept == [0, 0, 100, 0] and list(result.cohort) == [2]
    assert result.row["cohort_size"] == 1
    assert result.row["bytes_down"] == 2 * 100
    assert result.row["bytes_up"] == 10 + 2 * 4


def test_a_step_leaves_the_state_before_as_it_was():
    first, _ = after(1)
    digest = state_digest(first)
    again, _ = after(2, first, first=2)
    assert state_digest(first) == digest != state_digest(again)
    assert state_digest(after(2)[0]) == state_digest(again)


def test_a_run_goes_on_from_a_checkpoint_bit_for_bit(tmp_path):
    checkpoints = Checkpoints(tmp_path, "print", last_round=4, keep=2)
    for number in range(1, 4):
        checkpoints.save(number, after(number)[0])
    rows = {path.name for path in (tmp_path / "clients").iterdir()}
    # Of rounds 2 and 3; that of client 0 changed in between.
    assert sorted(name[:6] for name in rows) == ["000000"] * 2 + [
        "000001",
        "000002",
    ]
    done, state, refused = Checkpoints(
        tmp_path, "print", last_round=4, keep=2
    ).load_latest(engine().initialize())
    assert done == 3 and not refused
    found, expected = after(4, state, first=4)[0], after(4)[0]
    assert state_digest(found) == state_digest(expected)
    # Another process does not know what older checkpoints refer to.
    Checkpoints(tmp_path, "print", last_round=4, keep=2).save(4, found)
    names = sorted(p.name[:6] for p in (tmp_path / "clients").iterdir())
    assert names == ["000000", "000001", "000002", "000002"]


def test_a_checkpoint_whose_rows_are_damaged_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, "print", last_round=4)
    for number in (1, 2):
        checkpoints.save(number, after(number)[0])
    (path,) = (tmp_path / "clients").glob("000001-*")
    path.write_bytes(bytes(4 * SIZE))
    done, state, (error,) = checkpoints.load_latest(engine().initialize())
    assert done == 1 and "damaged" in str(error)
    assert list(state.clients.rows) == [0, 2]


@pytest.mark.parametrize("megabytes", [0, 1])
def test_the_engine_of_a_run_has_its_limit(tmp_path, megabytes):
    run = types.SimpleNamespace(
        process=Counting(),
        config=types.SimpleNamespace(client_states_mb=megabytes),
        sample_cohort=None,
        client_data=None,
        narrow=None,
    )
    states = stateful.build(run, tmp_path / "scratch").initialize().clients
    states = states.after([1, 2], [Counting.initial_kept] * 2)
    files = {row.file is None for row in states.rows.values()}
    assert files == {bool(megabytes)}


@dataclasses.dataclass(frozen=True)
class OwnModel(LocalRule):
    """A rule whose clients have a model of their own."""

    def personal_model(self, server, kept):
        return kept


@pytest.mark.parametrize(
    ("rule", "expected"), [(LocalRule(), False), (OwnModel(), True)]
)
def test_whether_clients_have_models_of_their_own(rule, expected):
    made = engine()
    made.process.rule = rule
    assert made.has_personal_models is expected
