"""A robust rule in rounds: of FedAvg, of a buffer, and of edges."""

import dataclasses

import numpy as np
import pytest

from tests.algorithms.hierarchical_test import (
    COHORTS,
    StandIn,
    after,
    in_process,
    parts,
    task,
)
from tests.reference import robust
from tests.training.engines.buffered_test import arrivals, engine_of, trained
from tff_cnn.aggregators import CenteredClipping
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms import ALGORITHMS, FedAvg, FedBuff, Hierarchical
from tff_cnn.algorithms.local_training import Weighting
from tff_cnn.selection.arrivals import Clock
from tff_cnn.training.engine import Work
from tff_cnn.training.engines import hierarchical
from tff_cnn.training.engines.federated import Federated

__all__ = ["in_process", "task"]  # Fixtures.

# A rule that keeps something from round to round.
RULE = CenteredClipping(clip_radius=0.1)


@pytest.fixture(scope="module")
def robust_parts():
    return dataclasses.replace(
        parts(Weighting.UNIFORM), aggregator=build_aggregator(RULE)
    )


@pytest.fixture(scope="module")
def fedavg(robust_parts, task):
    run = StandIn(ALGORITHMS.build(FedAvg(), robust_parts), task)
    return Federated(run.process, run.sample_cohort, run.client_data)


def step(engine, state, number, cohort):
    data = [engine.client_data(client, number) for client in cohort]
    return engine.step(state, Work(number, cohort, data)).state


def flat(weights) -> np.ndarray:
    return np.concatenate([np.ravel(w) for w in weights])


def assert_equal(found, expected):
    np.testing.assert_allclose(flat(found), flat(expected), atol=1e-6)


def test_a_round_is_the_rule_on_what_each_client_alone_would_do(fedavg, task):
    state = fedavg.initialize()
    first = flat(fedavg.weights(state))
    run = StandIn(ALGORITHMS.build(FedAvg(), parts(Weighting.UNIFORM)), task)
    plain = Federated(run.process, run.sample_cohort, run.client_data)
    updates = [
        first
        - flat(plain.weights(step(plain, plain.initialize(), 1, [client])))
        for client in COHORTS[0]
    ]
    found = first - flat(fedavg.weights(step(fedavg, state, 1, COHORTS[0])))
    expected = robust.centered_clipping(np.array(updates), 0.0, 0.1, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(expected - np.mean(updates, 0)).max() > 1e-4


def test_a_buffer_of_clients_equally_fast_is_fedavg(robust_parts, fedavg, task):
    clock = Clock(arrivals(3, 3, (2.0,) * 4))
    process = ALGORITHMS.build(FedBuff(), robust_parts)
    clients = [fedavg.client_data(client, 1)[0] for client in range(4)]
    engine = dataclasses.replace(
        engine_of(process, [], clock),
        client_data=lambda client, number: [clients[client]],
    )
    _, found = trained(engine, 3)
    state = fedavg.initialize()
    fixed = dataclasses.replace(fedavg, client_data=engine.client_data)
    for number, weights in enumerate(found, 1):
        state = step(fixed, state, number, clock.step(number).clients)
        assert_equal(weights, fixed.weights(state))


def test_an_edge_has_the_rule_from_round_to_round(robust_parts, fedavg, task):
    process = ALGORITHMS.build(
        Hierarchical(num_edges=1, kappa2=3), robust_parts
    )
    state, _ = after(hierarchical.build(StandIn(process, task), None), 1)
    plain = fedavg.initialize()
    for number in (1, 2, 3):
        plain = step(fedavg, plain, number, COHORTS[0])
    assert_equal(
        state.cloud.global_model_weights.trainable, fedavg.weights(plain)
    )
