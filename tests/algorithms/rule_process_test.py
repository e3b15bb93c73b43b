"""Processes of rules that keep and send values: `local_rule_test`'s."""

import numpy as np
import pytest
import tensorflow as tf

from tests.algorithms.local_rule_test import (
    BATCHING,
    RATE,
    SIZES,
    ControlVariates,
    OwnBias,
    clients,
    parts,
    train,
)
from tff_cnn import runtime
from tff_cnn.algorithms import fedavg, rule_process
from tff_cnn.core.client_states import ClientStates
from tff_cnn.training.engine import Work
from tff_cnn.training.engines.stateful import Stateful

__all__ = ["clients", "parts"]  # Fixtures.
ROUNDS = ([0, 1, 3], [1, 2], [3, 1])


def engine_of(parts, rule, clients):
    process = fedavg.build_with(parts, rule)
    return Stateful(
        process,
        lambda number: ROUNDS[number - 1],
        lambda client, number: BATCHING.client_data(
            clients[client], np.zeros(2, np.int64)
        ),
        ClientStates(process.initial_kept),
    )


def scaffold_in_numpy(weights, clients):
    """Karimireddy et al. 2020, Algorithm 1: (weights, c, every c_k)."""
    x = [np.float64(w) for w in weights]
    c = [np.zeros_like(w) for w in x]
    kept = [c for _ in SIZES]
    for cohort in ROUNDS:
        updates, moved = [], []
        for client in cohort:
            c_k = kept[client]

            def correct(gradient, _, c_k=c_k, c=c):
                return [
                    g - a + b for g, a, b in zip(gradient, c_k, c, strict=True)
                ]

            y, num_steps = train(x, clients[client], correct)
            new = c_k
            if num_steps:
                new = [
                    a - b + (w - t) / (num_steps * RATE)
                    for a, b, w, t in zip(c_k, c, x, y, strict=True)
                ]
            else:
                new = [a - b for a, b in zip(c_k, c, strict=True)]
            updates.append([t - w for t, w in zip(y, x, strict=True)])
            moved.append([n - o for n, o in zip(new, c_k, strict=True)])
            kept[client] = new
        share = len(cohort) / len(SIZES)
        x = [
            w + np.mean(u, axis=0)
            for w, u in zip(x, zip(*updates, strict=True), strict=True)
        ]
        c = [
            a + share * np.mean(m, axis=0)
            for a, m in zip(c, zip(*moved, strict=True), strict=True)
        ]
    return x, c, kept


@pytest.mark.parametrize("name", ["in_process", "native"])
def test_what_clients_keep_goes_out_and_comes_back(parts, clients, name):
    options = {"clients_per_step": 2} if name == "in_process" else {}
    with runtime.use(name, **options):
        engine = engine_of(parts, ControlVariates(RATE), clients)
        state = engine.initialize()
        for number in (1, 2, 3):
            before = state
            result = engine.step(state, engine.plan(number))
            state = result.state
    assert list(before.clients.rows) == [0, 3, 1, 2]  # A step is pure.
    x, c, kept = scaffold_in_numpy(parts.model.initial_weights[0], clients)
    for found, expected in (
        (engine.weights(state), x),
        (tf.nest.flatten(state.server.extra), c),
    ):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    for found, expected in zip(state.clients.of(range(4)), kept, strict=True):
        np.testing.assert_allclose(
            found, np.concatenate([np.ravel(e) for e in expected]), atol=1e-5
        )
    # Weights and c down; their changes and a weight up. 650 parameters.
    assert result.row["bytes_down"] == 2 * 2 * 650 * 4
    assert result.row["bytes_up"] == 2 * (2 * 650 * 4 + 4)


def test_a_rule_without_values_is_tffs_process(parts, clients):
    """The same numbers, whichever process they go through."""
    found = []
    with runtime.use("in_process", clients_per_step=1):
        plain = fedavg.build_fedavg(parts)
        data = [BATCHING.client_data(c, np.zeros(2, np.int64)) for c in clients]
        state = plain.next(plain.initialize(), data).state
        found.append(state.global_model_weights.trainable)
        process = rule_process.build(parts, fedavg.LocalRule())
        assert process.initial_kept.shape == (0,)
        state, kept, _ = process.process.next(
            process.process.initialize(), data
        )
        found.append(process.weights(state))
    assert [np.shape(k) for k in kept] == [(0,)] * 4
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_the_order_of_clients_does_not_mix_what_they_keep(parts, clients):
    with runtime.use("in_process", clients_per_step=2):
        engine = engine_of(parts, OwnBias(), clients)
        states = []
        for order in ([0, 1, 3], [3, 0, 1]):
            data = [engine.client_data(client, 1) for client in order]
            work = Work(1, order, data)
            states.append(engine.step(engine.initialize(), work).state)
    for a, b in zip(
        *(state.clients.of(range(4)) for state in states), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)
    bias = parts.model.initial_weights[0][1]
    np.testing.assert_array_equal(states[0].clients.of([2])[0], bias)
    assert np.abs(states[0].clients.of([1])[0] - bias).max() > 1e-3
