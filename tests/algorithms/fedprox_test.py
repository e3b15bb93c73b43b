import types

import numpy as np
import pytest

from tests.algorithms import toy
from tests.algorithms.toy import at_once
from tests.reference import fedprox as reference
from tff_cnn.algorithms import FedAvg, FedProx, fedprox
from tff_cnn.algorithms.local_training import Weighting
from tff_cnn.config import RunConfig
from tff_cnn.data import preprocessing
from tff_cnn.training import assembly

__all__ = ["at_once"]  # A fixture.
MU = 0.7


def num_steps(client, number=0, fraction=1.0, all_steps=4):
    options = FedProx(straggler_fraction=fraction)
    return fedprox.local_steps(options, 5, number, client, all_steps)


def in_numpy(mu, steps=lambda client: None):
    weights = toy.initial_weights()
    for cohort in toy.COHORTS:
        batches = [
            list(reference.batches_of(toy.SIZES[client], 2, 3))[: steps(client)]
            for client in cohort
        ]
        shares = [
            sum(batch.stop - batch.start for batch in of_client)
            for of_client in batches
        ]
        weights = reference.server_round(
            weights, toy.in_numpy(cohort), batches, shares, toy.RATE, mu
        )
    return weights


@pytest.mark.usefixtures("at_once")
def test_equals_numpy():
    engine = toy.engine(FedProx(MU))
    found = engine.weights(toy.after(engine))
    toy.assert_close(found, in_numpy(MU))
    plain = in_numpy(0.0)  # The pull is felt.
    assert np.abs(found[0] - plain[0]).max() > 1e-4


@pytest.mark.usefixtures("at_once")
def test_stragglers_equal_numpy():
    steps = {0: 1, 1: 4, 2: 0, 3: 2}
    engine = toy.engine(FedProx(MU))
    state = toy.after(
        engine,
        element=lambda client, _: preprocessing.cut_steps(
            toy.element(client), steps[client]
        ),
    )
    toy.assert_close(engine.weights(state), in_numpy(MU, steps.get))


@pytest.mark.usefixtures("native_runtime")
@pytest.mark.parametrize("weighting", Weighting)
def test_without_a_pull_it_is_fedavg(weighting):
    """To the bit in the reference runtime, which rewrites no arithmetic."""
    found, expected = (
        engine.weights(toy.after(engine))
        for engine in (
            toy.engine(FedProx(0.0), weighting),
            toy.engine(FedAvg(), weighting),
        )
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_a_pull_the_gradient_is_not_touched():
    made = object(), 1.0, 2.0
    step = types.SimpleNamespace()  # Of which nothing is read.
    assert fedprox.Pull(0.0).gradients(lambda _: made, step) == made


def test_stragglers_make_from_one_to_all_steps_equally_often():
    found = [num_steps(client) for client in range(4_000)]
    counts = np.bincount(found, minlength=5)
    # Of 1,000 expected each the deviation is 27.
    assert counts[0] == 0 and np.abs(counts[1:] - 1_000).max() < 135


def test_stragglers_are_the_share_that_is_asked_for():
    assert {num_steps(c, fraction=0.0) for c in range(100)} == {4}
    found = [num_steps(c, fraction=0.3, all_steps=10**6) for c in range(4_000)]
    share = np.mean(np.array(found) < 10**6)
    assert share == pytest.approx(0.3, abs=0.036)  # Five deviations.
    assert num_steps(0, all_steps=0) == 0
    assert num_steps(0, all_steps=1) == 1


def test_stragglers_are_a_function_of_round_and_client():
    found = {num_steps(c, n, all_steps=10**9) for c in (1, 2) for n in (1, 2)}
    assert len(found) == 4
    again = num_steps(1, 2, all_steps=10**9)
    assert again == num_steps(1, 2, all_steps=10**9)


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(assembly, "_build_process", lambda *parts: parts)
    config = RunConfig(
        num_clients=30,
        client_epochs=3,
        batch_size=4,
        algorithm=FedProx(straggler_fraction=0.5),
    )
    return assembly.build(config.resolved())


def test_what_is_counted_is_what_was_trained_on(run):
    cohort, taken = range(30), {}
    for number in (1, 2):
        elements = [run.client_data(client, number)[0] for client in cohort]
        taken[number] = sum((e["batches"] >= 0).sum() for e in elements)
        assert run.count_examples(cohort, number) == taken[number]
    full = 3 * 1437
    assert taken[1] != taken[2]
    # Half of them do half of their work: three quarters.
    assert 0.6 * full < taken[1] < 0.9 * full


def test_a_run_goes_on_with_its_stragglers(tmp_path, monkeypatch):
    config = toy.config(
        algorithm=FedProx(MU, straggler_fraction=0.9), client_epochs=4
    )
    rows = toy.rows_of_an_interrupted_run(config, tmp_path, monkeypatch)
    examples = [row["examples"] for row in rows]
    assert len(set(examples)) > 1 and max(examples) <= 3 * 15 * 4
