"""Rules of the test's own: FedProx on a process, SCAFFOLD as a function."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.reference.fedavg import softmax_gradient
from tff_cnn import runtime
from tff_cnn.aggregators import Mean
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms import fedavg, local_training
from tff_cnn.algorithms.local_rule import LocalRule, Sent
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.data import preprocessing
from tff_cnn.models import functional

SGD = tff.learning.optimizers.build_sgdm
RATE = 0.1
BATCHING = preprocessing.Batching(epochs=2, batch_size=3, shuffle=False)
SIZES = (3, 7, 0, 5)


@dataclasses.dataclass(frozen=True)
class Pull(LocalRule):
    """FedProx: Li et al. 2020, Algorithm 2."""

    proximal_mu: float

    def gradients(self, base, step):
        gradients, loss, logits = base(step)
        pulled = tf.nest.map_structure(
            lambda g, w, w_t: g + self.proximal_mu * (w - w_t),
            gradients,
            step.weights,
            step.sent.weights,
        )
        return pulled, loss, logits


@dataclasses.dataclass(frozen=True)
class ControlVariates(LocalRule):
    """SCAFFOLD: Karimireddy et al. 2020, Algorithm 1, option II."""

    learning_rate: float

    def initial_extra(self, weights):
        return tuple(map(np.zeros_like, weights))

    initial_kept = initial_extra

    def gradients(self, base, step):
        gradients, loss, logits = base(step)
        corrected = tf.nest.map_structure(
            lambda g, c, c_k: g - c_k + c,
            gradients,
            step.sent.extra,
            step.kept,
        )
        return corrected, loss, logits

    def result(self, trained):
        update, _ = super().result(trained)
        scale = tf.cast(trained.num_steps, tf.float32) * self.learning_rate
        kept = tf.nest.map_structure(
            lambda c_k, c, u: c_k - c + tf.math.divide_no_nan(u, scale),
            trained.kept,
            trained.sent.extra,
            update,
        )
        moved = tf.nest.map_structure(tf.subtract, trained.kept, kept)
        return (update, moved), kept

    def server_step(self, server, aggregate, num_clients):
        update, moved = aggregate
        extra = tf.nest.map_structure(
            lambda c, m: c - num_clients / len(SIZES) * m, server.extra, moved
        )
        return update, extra


@dataclasses.dataclass(frozen=True)
class OwnBias(LocalRule):
    """FedPer on one layer: its bias stays with the client."""

    def initial_kept(self, weights):
        return weights[1]

    def start(self, sent, kept):
        return sent.weights[0], kept

    def result(self, trained):
        update, _ = super().result(trained)
        return (update[0], tf.zeros_like(update[1])), trained.weights[1]


@pytest.fixture(scope="module")
def parts():
    """Of softmax regression."""
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((8, 8, 1)),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(
                10, kernel_initializer=tf.keras.initializers.GlorotUniform(3)
            ),
        ]
    )
    return Parts(
        functional.from_keras(model),
        SGD(RATE),
        SGD(1.0),
        build_aggregator(Mean()),
        Weighting.UNIFORM,
        preprocessing.element_spec((8, 8, 1)),
        lambda images: preprocessing.scale(images, 16),
    )


@pytest.fixture(scope="module")
def clients(digits):
    starts = np.cumsum((0, *SIZES[:-1]))
    return [
        digits.train.take(np.arange(start, start + size))
        for start, size in zip(starts, SIZES, strict=True)
    ]


def to_data(examples):
    return BATCHING.client_data(examples, np.zeros(2, np.int64))


def train(weights, examples, correct):
    """Local training in NumPy: (weights, steps); `correct` changes gradients.

    Args:
      correct: (gradient, weights) -> gradient, both lists of arrays.
    """
    weights, num_steps = [np.float64(w) for w in weights], 0
    for _ in range(BATCHING.epochs):
        for start in range(0, len(examples), BATCHING.batch_size):
            rows = slice(start, start + BATCHING.batch_size)
            gradient = correct(
                softmax_gradient(
                    weights, examples.images[rows] / 16, examples.labels[rows]
                ),
                weights,
            )
            weights = [
                w - RATE * g for w, g in zip(weights, gradient, strict=True)
            ]
            num_steps += 1
    return weights, num_steps


def weights_after_two_rounds(process, clients):
    state = process.initialize()
    for _ in range(2):
        state = process.next(state, list(map(to_data, clients))).state
    return state.global_model_weights.trainable


@pytest.mark.usefixtures("native_runtime")
def test_without_a_pull_fedprox_is_fedavg(parts, clients):
    """To the bit in the reference runtime, which rewrites no arithmetic."""
    found, expected = (
        weights_after_two_rounds(process, clients)
        for process in (
            fedavg.build_with(parts, rule=Pull(0.0)),
            fedavg.build_fedavg(parts),
        )
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_fedprox_equals_numpy(parts, clients):
    mu, expected = 0.7, list(parts.model.initial_weights[0])
    for _ in range(2):
        sent = expected

        def pull(gradient, weights, sent=sent):
            return [
                g + mu * (w - w_t)
                for g, w, w_t in zip(gradient, weights, sent, strict=True)
            ]

        trained = [train(sent, c, pull)[0] for c in clients]
        expected = [np.mean(ws, axis=0) for ws in zip(*trained, strict=True)]
    process = fedavg.build_with(parts, rule=Pull(mu))
    with runtime.use("in_process", clients_per_step=4):
        found = weights_after_two_rounds(process, clients)
        assert runtime.current().schedule.last_size > 1  # Vectorized.
    plain, _ = train(sent, clients[1], lambda gradient, _: gradient)
    pulled, _ = train(sent, clients[1], pull)
    for a, b, c, d in zip(found, expected, plain, pulled, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert np.abs(c - d).max() > 1e-4  # The pull is felt.


def test_a_rule_that_keeps_values_equals_numpy(parts, clients):
    """Two rounds of a client, and one of a client without examples."""
    rule = ControlVariates(RATE)
    update = local_training.build_client_update(parts, rule)
    weights, _ = parts.model.initial_weights
    c = tuple(np.full_like(w, 0.01) for w in weights)
    c_k = kept = rule.initial_kept(weights)
    for _ in range(2):

        def correct(gradient, _, c_k=c_k):
            return [g - a + b for g, a, b in zip(gradient, c_k, c, strict=True)]

        trained, num_steps = train(weights, clients[1], correct)
        moved = [w - t for w, t in zip(weights, trained, strict=True)]
        c_k_before, c_k = (
            c_k,
            [
                a - b + m / (num_steps * RATE)
                for a, b, m in zip(c_k, c, moved, strict=True)
            ],
        )
        output = update(Sent(weights, c), kept, to_data(clients[1])[0])
        kept = output.kept
        changed = [a - b for a, b in zip(c_k_before, c_k, strict=True)]
        for found, expected in (
            (output.result.update, (moved, changed)),
            (kept, c_k),
        ):
            for a, b in zip(
                tf.nest.flatten(found), tf.nest.flatten(expected), strict=True
            ):
                np.testing.assert_allclose(a, b, atol=1e-5)
        assert output.is_excluded == 0 and output.result.update_weight == 1
    nobody = update(Sent(weights, c), kept, to_data(clients[2])[0])
    for a in tf.nest.flatten(nobody.result.update[0]):
        np.testing.assert_array_equal(a, 0)


def test_an_excluded_client_keeps_what_it_had(parts, clients):
    update = local_training.build_client_update(
        dataclasses.replace(parts, client_optimizer=SGD(1e38)),
        ControlVariates(1e38),
    )
    weights, _ = parts.model.initial_weights
    had = tuple(np.full_like(w, 0.25) for w in weights)
    output = update(Sent(weights, had), had, to_data(clients[0])[0])
    assert output.is_excluded == 1 and output.result.update_weight == 0
    for leaf in tf.nest.flatten(output.result.update):
        np.testing.assert_array_equal(leaf, 0)
    for a, b in zip(output.kept, had, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_client_whose_kept_values_alone_overflow_is_excluded(parts, clients):
    @dataclasses.dataclass(frozen=True)
    class Overflowing(OwnBias):
        def result(self, trained):
            update, kept = super().result(trained)
            return update, kept + np.inf

    update = local_training.build_client_update(parts, Overflowing())
    weights, _ = parts.model.initial_weights
    output = update(Sent(weights), weights[1], to_data(clients[0])[0])
    assert output.is_excluded == 1
    np.testing.assert_array_equal(output.kept, weights[1])


def test_training_may_begin_with_what_was_kept(parts, clients):
    update = local_training.build_client_update(parts, OwnBias())
    (kernel, _), _ = parts.model.initial_weights
    bias = np.linspace(-1, 1, 10, dtype=np.float32)
    output = update(
        Sent((kernel, np.zeros(10, np.float32))), bias, to_data(clients[1])[0]
    )
    trained, _ = train((kernel, bias), clients[1], lambda gradient, _: gradient)
    np.testing.assert_allclose(output.kept, trained[1], atol=1e-5)
    np.testing.assert_allclose(
        output.result.update[0], kernel - trained[0], atol=1e-5
    )
    np.testing.assert_array_equal(output.result.update[1], 0)
