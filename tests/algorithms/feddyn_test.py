"""FedDyn against NumPy, its invariants and what it refuses."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.algorithms import stateful_rounds as rounds
from tests.algorithms.local_rule_test import RATE, clients, parts
from tests.algorithms.stateful_rounds import COHORTS, in_process
from tests.reference import feddyn as reference
from tff_cnn.algorithms.feddyn import DynamicRegularizer, build_feddyn
from tff_cnn.algorithms.local_rule import Sent
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError

__all__ = ["clients", "in_process", "parts"]  # Fixtures.


@pytest.mark.usefixtures("in_process")
def test_rounds_equal_numpy(parts, clients):
    parts = dataclasses.replace(parts, num_clients=rounds.NUM_CLIENTS)
    process = build_feddyn(parts, 0.3)
    engine, state = rounds.trained(process, clients)
    theta, h, kept = reference.train(
        rounds.vector(parts.model.initial_weights[0]),
        list(map(rounds.batches_of, clients)),
        COHORTS,
        rounds.gradient,
        RATE,
        0.3,
    )
    found = rounds.vector(engine.weights(state))
    np.testing.assert_allclose(found, theta, atol=1e-5)
    found = rounds.vector(state.server.extra)
    np.testing.assert_allclose(found, h, atol=1e-5)
    np.testing.assert_allclose(rounds.kept(state), kept, atol=1e-5)
    assert np.abs(h).max() > 1e-3
    # h is the mean of what all clients keep, whoever took part.
    np.testing.assert_allclose(found, np.mean(rounds.kept(state), 0), atol=1e-6)
    # As FedAvg's: h stays with the server.
    assert process.bytes_down == 650 * 4
    assert process.bytes_up == 650 * 4 + 4


def test_nobody_changes_nothing(parts):
    """Though h / alpha is not zero."""
    rule = DynamicRegularizer(0.3, 4)
    weights, _ = parts.model.initial_weights
    h = tuple(np.full_like(w, 0.2) for w in weights)
    nothing = tuple(np.zeros_like(w) for w in weights)
    found = rule.server_step(Sent(weights, h), nothing, tf.constant(0.0))
    for leaf, expected in zip(
        tf.nest.flatten(found), (*nothing, *h), strict=True
    ):
        np.testing.assert_array_equal(leaf, expected)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(1, 5), st.integers(0, 5))
def test_the_optimum_stays(alpha, size, others):
    """Where every client stays at theta, h / alpha is all that moves it."""
    rule = DynamicRegularizer(alpha, size + others)
    theta, zeros = (np.ones(3, np.float32),), (np.zeros(3, np.float32),)
    gradient, h = rule.server_step(
        Sent(theta, zeros), zeros, tf.constant(float(size))
    )
    np.testing.assert_array_equal(gradient[0], 0)
    np.testing.assert_array_equal(h[0], 0)
    # All clients go by -1: theta by -1, and by the cohort's share again.
    gradient, h = rule.server_step(
        Sent(theta, zeros), theta, tf.constant(float(size))
    )
    share = size / (size + others)
    np.testing.assert_allclose(gradient[0], 1 + share, rtol=1e-5)
    np.testing.assert_allclose(h[0], alpha * share, rtol=1e-5)


def test_clients_that_count_by_their_examples_are_refused():
    with pytest.raises(UsageError, match="each of which counts the same"):
        RunConfig(algorithm="feddyn", client_weighting="examples").resolved()
    found = RunConfig(algorithm="feddyn").resolved()
    assert found.client_weighting == "uniform"
