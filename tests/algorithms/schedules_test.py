import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.algorithms import toy
from tests.algorithms.toy import at_once
from tests.reference import fedavg
from tff_cnn import identity
from tff_cnn.algorithms import (
    OPTIMIZERS,
    SCHEDULES,
    Adam,
    Constant,
    Cosine,
    Exponential,
    FedAvg,
    InverseSqrt,
    Linear,
    Sgd,
    StepDecay,
    schedules,
)
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.runtime.in_process.graph_function import GraphFunction

__all__ = ["at_once"]  # A fixture.


def factors(options, rounds):
    schedule = SCHEDULES.builder(options)
    return [schedule(number, rounds) for number in range(1, rounds + 1)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Constant(), [1, 1, 1, 1]),
        (Constant(3), [1 / 4, 1 / 2, 3 / 4, 1]),
        (Linear(), [1, 3 / 4, 1 / 2, 1 / 4]),
        (Linear(2, final_factor=0.5), [1 / 3, 2 / 3, 1, 3 / 4]),
        (Cosine(), [1, (2 + 2**0.5) / 4, 1 / 2, (2 - 2**0.5) / 4]),
        (Cosine(final_factor=1.0), [1, 1, 1, 1]),
        (Exponential(0, 0.5, 2), [1, 0.5**0.5, 0.5, 0.5**1.5]),
        (StepDecay(0, 0.1, 2), [1, 1, 0.1, 0.1]),
        (StepDecay(1, 0.1, 1), [0.5, 1, 0.1, 0.01]),
        (InverseSqrt(), [1, 2**-0.5, 3**-0.5, 1 / 2]),
        (InverseSqrt(1, decay_rounds=2), [0.5, 1, (2 / 3) ** 0.5, 0.5**0.5]),
    ],
)
def test_by_hand(options, expected):
    assert factors(options, 4) == pytest.approx(expected, abs=1e-12)


@given(
    name=st.sampled_from(SCHEDULES.names),
    warmup=st.integers(0, 30),
    rounds=st.integers(1, 60),
)
def test_each_rises_in_its_warm_up_and_falls_from_one_on(name, warmup, rounds):
    found = factors(SCHEDULES.find(name).options(warmup_rounds=warmup), rounds)
    assert all(0 < factor <= 1 for factor in found)
    rise = [(n + 1) / (warmup + 1) for n in range(min(warmup, rounds))]
    assert found[:warmup] == pytest.approx(rise)
    if rounds > warmup:
        assert found[warmup] == 1
        assert (np.diff(found[warmup:]) <= 0).all()


@given(
    name=st.sampled_from(SCHEDULES.names),
    number=st.integers(1, 100),
    rounds=st.integers(1, 100),
    others=st.integers(1, 100),
)
def test_what_depends_on_the_number_of_rounds_says_so(
    name, number, rounds, others
):
    entry = SCHEDULES.find(name)
    schedule = SCHEDULES.builder(entry.options())
    if not entry.facts.get("depends_on_rounds"):
        assert schedule(number, rounds) == schedule(number, others)
    assert math.isfinite(schedule(number, rounds))


def test_rounds_matter_to_what_depends_on_them():
    plain = RunConfig().resolved()
    for name in SCHEDULES:
        config = dataclasses.replace(plain, client_schedule=name)
        found = identity.material(config)
        assert ("rounds" in found) is (name in ("linear", "cosine"))
        assert (found == identity.material(plain)) is (name == "constant")
    warm = dataclasses.replace(plain, server_schedule=Constant(5))
    changed = set(identity.material(warm)) - set(identity.material(plain))
    assert changed == {"server_warmup_rounds"}


def test_options_of_another_schedule_are_refused():
    with pytest.raises(UsageError, match="client_schedule.final_factor"):
        RunConfig(client_schedule=Linear(final_factor=1.5))
    with pytest.raises(TypeError):
        Cosine(decay_rounds=3)


@pytest.mark.parametrize("options", [Sgd(0.5, 0.9), Adam(0.01)])
def test_the_server_s_optimizer_has_the_rate_of_each_step(options):
    plain = OPTIMIZERS.build(options)
    scheduled = schedules.at_server(plain, [1.0, 0.5, 0.25])
    weights, gradient = tf.ones(3), tf.constant([1.0, -2.0, 0.5])
    specs = tf.TensorSpec([3])
    state, expected = scheduled.initialize(specs), plain.initialize(specs)
    for factor in (1.0, 0.5, 0.25, 0.25):  # The last one of all that follow.
        rate = options.learning_rate * factor
        expected = {**expected, "learning_rate": tf.constant(rate)}
        expected, after = plain.next(expected, weights, gradient)
        state, weights = scheduled.next(state, weights, gradient)
        np.testing.assert_array_equal(weights, after)


@pytest.mark.usefixtures("at_once")
def test_clients_and_server_equal_numpy(monkeypatch):
    """FedAvg whose rates are other ones in each round; traced but once."""
    down, up = [1.0, 0.5, 0.125], [0.25, 0.5, 1.0]
    engine = toy.engine(
        FedAvg(),
        client_optimizer=toy.SGD(toy.RATE, momentum=0.5),
        server_optimizer=schedules.at_server(toy.SGD(0.8, momentum=0.9), up),
        element_spec={
            **toy.element_spec(),
            schedules.FIELD: schedules.FACTOR_SPEC,
        },
    )

    def element(client, number):
        factor = np.float32(down[number - 1])
        return {**toy.element(client), schedules.FIELD: factor}

    found = engine.weights(toy.after(engine, element=element))
    weights = toy.initial_weights()
    buffer = [np.zeros_like(w) for w in weights]
    for cohort, low, high in zip(toy.COHORTS, down, up, strict=True):
        weights, buffer = server_round(
            weights, buffer, cohort, toy.RATE * low, 0.8 * high
        )
    toy.assert_close(found, weights)
    traced = []
    monkeypatch.setattr(GraphFunction, "__call__", lambda *_: traced.append(1))
    down.reverse()
    toy.after(engine, element=element)
    assert not traced


def server_round(weights, buffer, cohort, client_rate, server_rate):
    """`fedavg.server_round`, of clients with momentum 0.5."""
    updates = []
    for images, labels in toy.in_numpy(cohort):
        trained = [w.copy() for w in weights]
        speed = [np.zeros_like(w) for w in weights]
        for _ in range(2):
            for start in range(0, len(labels), 3):
                rows = slice(start, start + 3)
                gradient = fedavg.softmax_gradient(
                    trained, images[rows], labels[rows]
                )
                speed = [
                    0.5 * v + g for v, g in zip(speed, gradient, strict=True)
                ]
                trained = [
                    w - client_rate * v
                    for w, v in zip(trained, speed, strict=True)
                ]
        updates.append([w - t for w, t in zip(weights, trained, strict=True)])
    shares = [toy.SIZES[client] for client in cohort]
    mean = [
        np.average(u, axis=0, weights=shares)
        for u in zip(*updates, strict=True)
    ]
    buffer = [0.9 * b + m for b, m in zip(buffer, mean, strict=True)]
    return [
        w - server_rate * b for w, b in zip(weights, buffer, strict=True)
    ], buffer
