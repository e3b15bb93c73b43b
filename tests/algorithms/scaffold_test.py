"""SCAFFOLD against NumPy, its invariants and what it refuses."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.algorithms import stateful_rounds as rounds
from tests.algorithms.local_rule_test import (
    RATE,
    SGD,
    clients,
    parts,
    to_data,
)
from tests.algorithms.stateful_rounds import COHORTS, in_process
from tests.reference import scaffold as reference
from tff_cnn.algorithms import Adam, Scaffold, Sgd, fedavg, local_training
from tff_cnn.algorithms.local_rule import Sent
from tff_cnn.algorithms.scaffold import OptionOne, OptionTwo, build_scaffold
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError

__all__ = ["clients", "in_process", "parts"]  # Fixtures.


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("option", ["I", "II"])
def test_rounds_equal_numpy(parts, clients, option):
    parts = dataclasses.replace(
        parts, num_clients=rounds.NUM_CLIENTS, server_optimizer=SGD(0.7)
    )
    process = build_scaffold(parts, option)
    engine, state = rounds.trained(process, clients)
    x, c, c_i = reference.train(
        rounds.vector(parts.model.initial_weights[0]),
        list(map(rounds.batches_of, clients)),
        COHORTS,
        rounds.gradient,
        RATE,
        0.7,
        option,
    )
    found = rounds.vector(engine.weights(state))
    np.testing.assert_allclose(found, x, atol=1e-5)
    found = rounds.vector(state.server.extra)
    np.testing.assert_allclose(found, c, atol=1e-5)
    np.testing.assert_allclose(rounds.kept(state), c_i, atol=1e-5)
    assert np.abs(c_i[3]).max() > 1e-2
    # c is the mean of all c_i, whoever took part.
    np.testing.assert_allclose(found, np.mean(rounds.kept(state), 0), atol=1e-6)
    # Weights and c down; their changes and a weight up.
    assert process.bytes_down == 2 * 650 * 4
    assert process.bytes_up == 2 * 650 * 4 + 4


@pytest.mark.parametrize("kind", [OptionOne, OptionTwo])
def test_where_nothing_is_corrected_it_is_fedavg(parts, clients, kind):
    """c_i = c, as in the first round and with an only client."""
    weights, _ = parts.model.initial_weights
    c = tuple(np.full_like(w, 0.3) for w in weights)
    update = local_training.build_client_update(parts, kind(1))
    plain = local_training.build_client_update(parts, fedavg.LocalRule())
    data = to_data(clients[1])[0]
    found = update(Sent(weights, c), c, data).result.update[0]
    expected = plain(Sent(weights), (), data).result.update
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


OPTIMIZERS = {
    "plain": SGD(0.1),
    "momentum": SGD(0.1, 0.5),
    "much": SGD(0.01, 0.9),
    "decaying": tff.learning.optimizers.schedule_learning_rate(
        SGD(0.1, 0.9), lambda step: 0.1 / (1 + tf.cast(step, tf.float32))
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_c_i_is_a_mean_of_gradients_whatever_the_optimizer(
    parts, clients, name
):
    """So that it is the gradient, where that is the same in each step.

    K eta_l in the place of all that moved it would let c_i grow without end:
    with momentum 0.9 by a factor of 9 a round.
    """

    def constant(step):
        gradients = [tf.fill(w.shape, 0.5) for w in step.weights]
        logits = tf.zeros([tf.size(step.labels), 10])
        return gradients, tf.constant(0.0), logits

    parts = dataclasses.replace(
        parts, gradients=constant, client_optimizer=OPTIMIZERS[name]
    )
    rule = OptionTwo(4)
    update = local_training.build_client_update(parts, rule)
    weights, _ = parts.model.initial_weights
    c_i = rule.initial_kept(weights)
    c = tuple(np.full_like(w, -0.2) for w in weights)
    for _ in range(3):
        c_i = update(Sent(weights, c), c_i, to_data(clients[1])[0]).kept
        for leaf in c_i:
            np.testing.assert_allclose(leaf, 0.5, atol=1e-5)


@pytest.mark.parametrize("kind", [OptionOne, OptionTwo])
def test_a_client_without_examples_keeps_its_c_i(parts, clients, kind):
    update = local_training.build_client_update(parts, kind(4))
    weights, _ = parts.model.initial_weights
    c_i, c = (
        tuple(np.full_like(w, value) for w in weights) for value in (0.3, 0.2)
    )
    output = update(Sent(weights, c), c_i, to_data(clients[2])[0])
    for found, expected in zip(output.kept, c_i, strict=True):
        np.testing.assert_array_equal(found, expected)
    for leaf in tf.nest.flatten(output.result.update):
        np.testing.assert_array_equal(leaf, 0)


def refusal(**fields):
    with pytest.raises(UsageError) as caught:
        RunConfig(**fields).resolved()
    return str(caught.value)


def test_what_does_not_go_with_it_is_refused():
    told = refusal(algorithm="scaffold", client_optimizer="adam")
    assert "client_optimizer=adam does not fit" in told
    assert "or algorithm.scaffold_option=I." in told
    RunConfig(algorithm=Scaffold("I"), client_optimizer=Adam()).resolved()
    found = RunConfig(algorithm="scaffold", client_optimizer=Sgd(momentum=0.9))
    assert found.resolved().client_weighting == "uniform"
    told = refusal(algorithm="scaffold", client_weighting="examples")
    assert "counts the same" in told
    told = refusal(algorithm="scaffold", dp="fixed_clip")
    assert "algorithm=scaffold does not fit dp=fixed_clip" in told
