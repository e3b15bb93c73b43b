"""FedADMM against NumPy, its invariants and limit cases."""

import dataclasses

import numpy as np
import pytest

from tests.algorithms import stateful_rounds as rounds
from tests.algorithms.local_rule_test import RATE, SGD, clients, parts
from tests.algorithms.stateful_rounds import COHORTS, in_process
from tests.reference import fedadmm as reference
from tff_cnn.algorithms.fedadmm import build_fedadmm
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError

__all__ = ["clients", "in_process", "parts"]  # Fixtures.
RHO = 0.2


def compare(parts, clients, start, cohorts, rho=RHO):
    """Ours beside NumPy's, where eta is 1/2: (theta, every w_k, every y_k)."""
    parts = dataclasses.replace(parts, server_optimizer=SGD(0.5))
    process = build_fedadmm(parts, rho, start)
    engine, state = rounds.trained(process, clients, cohorts)
    theta, w, y = reference.train(
        rounds.vector(parts.model.initial_weights[0]),
        list(map(rounds.batches_of, clients)),
        cohorts,
        rounds.gradient,
        RATE,
        rho,
        0.5,
        start,
    )
    found = rounds.vector(engine.weights(state))
    np.testing.assert_allclose(found, theta, atol=1e-5)
    expected = y if start == "global" else np.concatenate([w, y], axis=1)
    np.testing.assert_allclose(rounds.kept(state), expected, atol=1e-5)
    # As FedAvg's.
    assert process.bytes_down == 650 * 4
    assert process.bytes_up == 650 * 4 + 4
    return found, np.array(w), np.array(y)


@pytest.mark.usefixtures("in_process")
def test_rounds_equal_numpy(parts, clients):
    _, _, y = compare(parts, clients, "global", COHORTS)
    assert np.abs(y).max() > 1e-2


@pytest.mark.usefixtures("in_process")
def test_the_server_has_the_mean_of_all_augmented_models(parts, clients):
    """Where clients go on from their own, and eta is the cohort's share."""
    cohorts = [[0, 1], [2, 3], [3, 1]]
    theta, w, y = compare(parts, clients, "own", cohorts)
    np.testing.assert_allclose(theta, np.mean(w + y / RHO, 0), atol=1e-5)
    assert np.abs(w[0] - theta).max() > 1e-2


@pytest.mark.usefixtures("in_process")
def test_without_a_penalty_half_of_it_is_fedavg(parts, clients):
    found, _, y = compare(parts, clients, "global", COHORTS, 1e-20)
    theta = rounds.vector(parts.model.initial_weights[0])
    for cohort in filter(None, COHORTS):
        trained = []
        for client in cohort:
            w = theta
            for batch in rounds.batches_of(clients[client]):
                w = w - RATE * rounds.gradient(w, batch)
            trained.append(w)
        theta = np.mean(trained, axis=0)
    np.testing.assert_allclose(found, theta, atol=1e-5)
    assert np.abs(y).max() < 1e-18


def test_clients_that_count_by_their_examples_are_refused():
    with pytest.raises(UsageError, match="each of which counts the same"):
        RunConfig(algorithm="fedadmm", client_weighting="examples").resolved()
