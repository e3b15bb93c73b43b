"""Runs of clients with different models: states, bytes, and going on."""

import dataclasses
import types

import numpy as np
import pytest

import tff_cnn
from tff_cnn import runtime
from tff_cnn.algorithms import FedMd
from tff_cnn.core.errors import UsageError
from tff_cnn.runtime import InProcess
from tff_cnn.training import assembly
from tff_cnn.training.checkpoints import Checkpoints, state_digest
from tff_cnn.training.engine import Work
from tff_cnn.training.engines import exchange

CONFIG = tff_cnn.RunConfig(
    algorithm=FedMd(
        client_models="digits_cnn,emnist_cnn",
        public_examples=60,
        consensus_examples=30,
    ),
    num_clients=5,
    clients_per_round=3,
    rounds=2,
    seed=4,
    # One at a time: that several are the same is said by the contract.
    runtime=InProcess(clients_per_step="1"),
)


@pytest.fixture(scope="module")
def run():
    return assembly.build(CONFIG.resolved())


def test_each_client_has_a_model_of_its_own(run, tmp_path):
    engine = run.engine()
    assert engine.parties[0] is engine.student  # Of one kind: built once.
    kinds = [engine.personal_model(client).name for client in range(3)]
    assert kinds == ["digits_cnn", "emnist_cnn", "digits_cnn"]
    first = engine.initialize()
    for client in range(3):
        weights = engine.personal_weights(first, client)
        expected = engine.personal_model(client).get_weights()
        for a, b in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    checkpoints = Checkpoints(tmp_path, "print", last_round=2)
    with runtime.use("in_process", clients_per_step=1):
        work = Work(1, [3, 2], [run.client_data(c, 1) for c in (3, 2)])
        result = engine.step(first, work)
        state = result.state
        checkpoints.save(1, state)
        _, loaded, _ = checkpoints.load_latest(engine.initialize())
        second = [
            state_digest(engine.step(s, engine.plan(2)).state)
            for s in (state, loaded)
        ]
    assert [list(kind.rows) for kind in state.clients] == [[2], [3]]
    assert [list(kind.rows) for kind in first.clients] == [[], []]
    moved = engine.personal_weights(state, 3)
    assert np.abs(moved[0] - engine.personal_weights(first, 3)[0]).max() > 1e-3
    # A run goes on to the bit.
    assert second[0] == second[1] != state_digest(state)
    # Scores of 30 images in 10 classes, of each of two clients.
    assert result.row["bytes_up"] == result.row["bytes_down"] == 2 * 30 * 10 * 4


def test_only_the_students_weights_leave_the_run(tmp_path):
    config = dataclasses.replace(
        CONFIG,
        algorithm=FedMd(public_examples=60),
        rounds=1,
    )
    result = tff_cnn.train(config, tmp_path / "run")
    assert result.summary["num_parameters"] == 5450
    (row,) = result.metrics
    assert row["bytes_up"] == 3 * 60 * 10 * 4 and 0 < row["train_loss"] < 2
    traffic = result.summary["traffic"]
    assert traffic["bytes_of_fedavg"] == 3 * (2 * 5450 * 4 + 4)
    exported = (tmp_path / "run" / "export").rglob("*.f32")
    kept = (tmp_path / "run" / "checkpoints").rglob("*.f32")
    assert len(list(kept)) == 4 and not list(exported)


def test_a_round_exchanges_no_more_than_is_public():
    process = types.SimpleNamespace(
        options=types.SimpleNamespace(consensus_examples=61)
    )
    task = types.SimpleNamespace(public=range(60))
    with pytest.raises(UsageError, match="=61 is more than the 60 examples"):
        exchange.build(types.SimpleNamespace(process=process, task=task), None)
