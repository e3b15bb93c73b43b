import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.algorithms import toy
from tests.algorithms.local_rule_test import BATCHING, RATE, clients, parts
from tests.algorithms.stateful_rounds import (
    COHORTS,
    batches_of,
    gradient,
    in_process,
    kept,
    trained,
    vector,
)
from tests.reference import compression as reference
from tff_cnn import aggregators, runtime
from tff_cnn.aggregators.codecs import Codecs
from tff_cnn.aggregators.compression import rice
from tff_cnn.aggregators.compression.one_bit import OneBit
from tff_cnn.aggregators.compression.top_k import TopK, num_kept
from tff_cnn.algorithms import (
    Ditto,
    MimeLite,
    Scaffold,
    error_feedback,
    fedavg,
)
from tff_cnn.algorithms.local_rule import LocalRule
from tff_cnn.algorithms.local_training import Weighting
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import DpSgd, FixedClip, LocalGaussian
from tff_cnn.training import assembly
from tff_cnn.training.engine import Work

__all__ = ["clients", "in_process", "parts"]  # Fixtures.
SIZE = 650


def with_feedback(parts, *codecs):
    return dataclasses.replace(
        parts, feedback=Codecs(codecs), weighting=Weighting.UNIFORM
    )


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("share", [0.05, 1.0])
def test_fedavg_is_the_papers(parts, clients, share):
    start = vector(parts.model.initial_weights[0])
    x, errors = reference.error_feedback(
        start,
        [batches_of(c) for c in clients],
        COHORTS,
        gradient,
        RATE,
        lambda p: reference.top_k(p, num_kept(share, SIZE)),
    )
    process = fedavg.build_with(with_feedback(parts, TopK(share)), LocalRule())
    engine, state = trained(process, clients)
    np.testing.assert_allclose(vector(engine.weights(state)), x, atol=1e-5)
    for found, expected in zip(kept(state), errors, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    if share == 1:  # Nothing is left out: FedAvg.
        assert not np.any(kept(state))
    else:
        assert np.abs(kept(state)[1]).max() > 1e-3


def test_what_was_decoded_is_what_was_found_but_for_the_last_error():
    """Of one client: sum of C(p) = sum of u - e, whatever the codes are."""
    rule = LocalRule()
    codecs = Codecs([OneBit()])
    wrapped = error_feedback.ErrorFeedback(
        rule, codecs, (np.zeros(40, np.float32),)
    )
    rng = np.random.default_rng(0)
    updates = rng.standard_normal((60, 40)).astype(np.float32)
    error, total = (tf.zeros(40),), np.zeros(40)
    zeros = (tf.zeros(40),)
    for number, update in enumerate(updates):
        sent = error_feedback.Sent(zeros, ((), tf.constant(number, tf.int64)))
        trained = error_feedback.Trained(
            (tf.constant(-update),), sent, ((), error), tf.constant(1)
        )
        found, (_, error), size = wrapped.result(trained)
        total += found[0]
        assert size == 4 + 5 + 4  # A scale, 40 bits and a weight.
    np.testing.assert_allclose(
        total, updates.sum(0) - error[0], rtol=1e-5, atol=1e-4
    )
    # Within 2 B / delta: Karimireddy et al. 2019, Lemma 3; of random numbers
    # delta is 2 / pi or so, and B is the longest update.
    longest = np.linalg.norm(updates, axis=1).max()
    assert np.linalg.norm(error[0]) < 2 * longest / 0.5


@pytest.mark.usefixtures("in_process")
def test_a_client_that_is_excluded_keeps_what_it_had(parts, clients):
    process = fedavg.build_with(with_feedback(parts, TopK(0.05)), LocalRule())
    engine, state = trained(process, clients, COHORTS[:1])
    # So long that what is sent has no squared norm in float32.
    long = np.full(SIZE, 3e19, np.float32)
    _, *others = kept(state)
    state = state._replace(clients=state.clients.after([0], [long]))
    data = [BATCHING.client_data(c, np.zeros(2, np.int64)) for c in clients[:2]]
    result = engine.step(state, Work(2, [0, 1], data))
    assert result.row["clients_excluded"] == 1
    after = kept(result.state)
    np.testing.assert_array_equal(after[0], long)
    assert np.abs(after[1] - others[0]).max() > 1e-4
    assert np.abs(vector(engine.weights(result.state))).max() < 10
    # 33 numbers and their places, of each client, and a weight.
    places = sum(rice.index_bytes(33, SIZE))
    assert 33 * 4 + 4 < result.row["bytes_up"] / 2 <= 33 * 4 + 4 + places


@pytest.mark.parametrize(
    ("options", "is_personal"),
    [
        (Scaffold(), False),
        (Ditto(), True),
        (MimeLite(), False),
    ],
)
def test_every_rule_goes_on_as_it_was_where_nothing_is_left_out(
    options, is_personal
):
    """All that a rule has is still there behind the wrapping."""
    found = []
    with runtime.use("in_process", clients_per_step=1):
        for feedback in (None, Codecs([TopK(1.0)])):
            engine = toy.engine(options, Weighting.UNIFORM, feedback=feedback)
            state = toy.after(engine, toy.COHORTS[:2])
            found.append(list(engine.weights(state)))
            if is_personal:
                found[-1] += list(engine.personal_weights(state, 1))
    assert engine.has_personal_models == is_personal
    toy.assert_close(*found, atol=1e-6)


def test_a_run_goes_on_bit_for_bit_where_it_was_stopped(tmp_path, monkeypatch):
    """Errors and the number of the round are in its checkpoints."""
    config = toy.config(
        aggregator=[
            aggregators.TopK(error_feedback=True, top_k_fraction=0.1),
            aggregators.Quantize(error_feedback=True, quantize_bits=4),
        ]
    )
    rows = toy.rows_of_an_interrupted_run(config, tmp_path, monkeypatch)
    # 12 of 111 numbers: a weight, a scale, 6 bits of a gap and 4 of a number,
    # and a header.
    for row in rows:
        assert 3 * (4 + 4 + 12) < row["bytes_up"] <= 3 * (4 + 4 + 15 + 6 + 9)
        assert row["bytes_down"] == 3 * (111 * 4 + 8)


@pytest.mark.usefixtures("in_process")
def test_of_examples_only_their_gradients_are_sent_and_kept(parts, clients):
    """So under DP-SGD both follow from what has noise already."""

    def noise(step):
        drawn = tf.random.stateless_normal(step.weights[0].shape, step.seed)
        logits = tf.zeros([tf.shape(step.images)[0], 10])
        return (drawn, tf.zeros_like(step.weights[1])), drawn[0, 0], logits

    blind = dataclasses.replace(
        with_feedback(parts, TopK(0.05)), gradients=noise
    )
    process = fedavg.build_with(blind, LocalRule())
    others = [
        dataclasses.replace(
            c, images=c.images[:, ::-1] + 1, labels=(c.labels + 3) % 10
        )
        for c in clients
    ]
    found = []
    for given in (clients, others):
        engine, state = trained(process, given, COHORTS[:2])
        found.append([vector(engine.weights(state)), *kept(state)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(found[0][2]).max() > 1e-3


def test_nothing_else_is_counted_of_noised_steps_with_feedback(monkeypatch):
    monkeypatch.setattr(assembly, "_build_process", lambda *parts: parts)
    stages = []
    for feedback in (False, True):
        config = toy.config(
            aggregator=aggregators.TopK(error_feedback=feedback),
            example_dp=DpSgd(noise_multiplier=1.0),
            client_weighting="uniform",
        )
        (stage,) = assembly.build(config.resolved()).ledger.stages
        stages.append((stage.mechanism, stage.epsilon_after(3)))
    assert stages[0] == stages[1]


@pytest.mark.parametrize("choice", ["dp", "local_randomizer"])
def test_noise_on_updates_does_not_go_with_feedback(choice):
    """What is left out of a clipped update comes again, in the next one."""
    noise = {"dp": FixedClip, "local_randomizer": LocalGaussian}[choice]
    with pytest.raises(UsageError, match="nothing accounts|calibrated to"):
        toy.config(
            aggregator=aggregators.TopK(error_feedback=True),
            **{choice: noise(noise_multiplier=1.0)},
        ).resolved()
