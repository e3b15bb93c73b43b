import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.algorithms.local_rule_test import (
    BATCHING,
    RATE,
    SIZES,
    clients,
    parts,
    to_data,
)
from tests.reference.ditto import ditto as reference
from tff_cnn import runtime
from tff_cnn.algorithms import local_training
from tff_cnn.algorithms.ditto import BesideGlobal, build_ditto
from tff_cnn.algorithms.local_rule import LocalRule, Sent
from tff_cnn.config import RunConfig
from tff_cnn.core.client_states import ClientStates
from tff_cnn.models import functional
from tff_cnn.privacy import DpSgd, FixedClip
from tff_cnn.training.engines.stateful import Stateful

__all__ = ["clients", "parts"]  # Fixtures.
ROUNDS = ([0, 1, 3], [1, 2], [3, 1])
LAMBDA = 1.5


@pytest.fixture(scope="module")
def engine(parts, clients):
    process = build_ditto(parts, LAMBDA)
    return Stateful(
        process,
        lambda number: ROUNDS[number - 1],
        lambda client, number: to_data(clients[client]),
        ClientStates(process.initial_kept),
    )


def test_three_rounds_equal_numpy(engine, parts, clients):
    with runtime.use("in_process", clients_per_step=4):
        state = engine.initialize()
        for number in (1, 2, 3):
            result = engine.step(state, engine.plan(number))
            state = result.state
            if number == 1:
                assert runtime.current().schedule.last_size > 1
    initial = [np.float64(w) for w in parts.model.initial_weights[0]]
    w, v = reference(
        initial,
        [initial for _ in SIZES],
        [(c.images / 16, c.labels) for c in clients],
        ROUNDS,
        lam=LAMBDA,
        rate=RATE,
        epochs=BATCHING.epochs,
        batch_size=BATCHING.batch_size,
    )
    for a, b in zip(engine.weights(state), w, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for client, expected in enumerate(v):
        found = engine.personal_weights(state, client)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert np.abs(v[1][0] - w[0]).max() > 1e-3
    # Only w goes down, and its update and a weight up: 650 parameters.
    assert result.row["bytes_down"] == 2 * 650 * 4
    assert result.row["bytes_up"] == 2 * (650 * 4 + 4)


def trained(parts, rule, sent, kept, data):
    update = local_training.build_client_update(parts, rule)
    return update(Sent(sent), kept, data[0])


@pytest.fixture(scope="module")
def dropping(parts):
    """Parts whose model drops, and whose clients have momentum."""
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((8, 8, 1)),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dropout(0.5),
            tf.keras.layers.Dense(10),
        ]
    )
    return dataclasses.replace(
        parts,
        model=functional.from_keras(model),
        client_optimizer=tff.learning.optimizers.build_sgdm(RATE, 0.9),
    )


@pytest.mark.parametrize("ditto_lambda", [0.0, LAMBDA])
def test_what_is_sent_is_fedavgs_to_the_bit(dropping, clients, ditto_lambda):
    """Whatever is kept; metrics too."""
    w = dropping.model.initial_weights[0]
    data = to_data(clients[1])
    expected = trained(dropping, LocalRule(), w, (), data)
    for v in (w, tuple(x + 3 for x in w), tuple(x + 1e38 for x in w)):
        found = trained(dropping, BesideGlobal(ditto_lambda), w, v, data)
        assert found.is_excluded == 0
        for a, b in zip(
            tf.nest.flatten((found.result, found.metrics)),
            tf.nest.flatten((expected.result, expected.metrics)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


def test_without_lambda_personal_models_know_nothing_of_others(parts, clients):
    """They are trained as a client is that nobody sends anything."""
    w = parts.model.initial_weights[0]
    v, data = tuple(x + 1 for x in w), to_data(clients[1])
    alone = trained(parts, LocalRule(), v, (), data).result.update
    for sent in (w, tuple(x - 5 for x in w)):
        kept = trained(parts, BesideGlobal(0.0), sent, v, data).kept
        for a, b, moved in zip(kept, v, alone, strict=True):
            np.testing.assert_allclose(a, b - moved, atol=1e-6)


def test_a_personal_model_that_overflows_stays_what_it_was(parts, clients):
    w = parts.model.initial_weights[0]
    v = tuple(np.full_like(x, 2.0) for x in w)
    data = to_data(clients[1])
    found = trained(parts, BesideGlobal(1e30), w, v, data)
    assert found.is_excluded == 0 and found.result.update_weight == 1
    for a, b in zip(found.kept, v, strict=True):
        np.testing.assert_array_equal(a, b)


def test_noise_on_a_personal_model_is_its_own(parts, clients):
    """Else their difference would be without any."""

    def noise(step):
        drawn = tuple(
            tf.random.stateless_normal(tf.shape(w), step.seed)
            for w in step.weights
        )
        return drawn, tf.constant(0.0), tf.zeros([tf.size(step.labels), 10])

    w = parts.model.initial_weights[0]
    noised = dataclasses.replace(parts, gradients=noise)
    found = trained(noised, BesideGlobal(0.0), w, w, to_data(clients[0]))
    kernel = w[0] - found.kept[0]
    assert np.std(kernel) > 0.5 * RATE
    correlation = np.corrcoef(
        np.ravel(kernel), np.ravel(found.result.update[0])
    )
    assert abs(correlation[0, 1]) < 0.2  # Of 640 numbers: five deviations.


def test_noise_that_fits_fedavg_fits_what_is_sent():
    for dp in (
        {"dp": FixedClip(epsilon=8.0)},
        {"example_dp": DpSgd(noise_multiplier=1.0)},
    ):
        found = RunConfig(algorithm="ditto", rounds=1, **dp).resolved()
        assert found.has_noise
