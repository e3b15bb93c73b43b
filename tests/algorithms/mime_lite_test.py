import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

import tff_cnn
from tests.algorithms import toy
from tests.algorithms.toy import at_once
from tests.reference import mime_lite as reference
from tff_cnn import runtime
from tff_cnn.algorithms import Adam, Cosine, FedAvg, MimeLite, Sgd, schedules
from tff_cnn.algorithms.local_training import Weighting
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.models import functional
from tff_cnn.privacy import DistributedSkellam, DpSgd, FixedClip
from tff_cnn.training import ledgers

__all__ = ["at_once"]  # A fixture.
ALL = (0, 1, 3)  # TFF's mean knows nothing of clients without examples.


@pytest.mark.usefixtures("at_once")
def test_equals_numpy():
    engine = toy.engine(
        MimeLite(), client_optimizer=toy.SGD(toy.RATE, momentum=0.8)
    )
    state = toy.after(engine)
    x = toy.initial_weights()
    s = [np.zeros_like(w) for w in x]
    for cohort in toy.COHORTS:
        shares = [toy.SIZES[client] for client in cohort]
        x, s = reference.server_round(
            x, s, toy.in_numpy(cohort), shares, 2, 3, toy.RATE, 0.8
        )
    toy.assert_close(engine.weights(state), x)
    toy.assert_close(state.server.extra["accumulator"], s)


@pytest.mark.parametrize(
    ("optimizer", "weighting"),
    [
        (toy.SGD(0.1, 0.9), Weighting.EXAMPLES),
        (tff.learning.optimizers.build_adam(0.01), Weighting.UNIFORM),
    ],
    ids=["momentum", "adam"],
)
def test_equals_tffs_mime_lite(optimizer, weighting):
    theirs = tff.learning.algorithms.build_weighted_mime_lite(
        functional.from_keras(toy.model()),
        optimizer,
        toy.SGD(0.7, 0.5),
        client_weighting=tff.learning.ClientWeighting[
            {"EXAMPLES": "NUM_EXAMPLES"}.get(weighting.name, weighting.name)
        ],
    )
    ours = toy.engine(
        MimeLite(),
        weighting,
        client_optimizer=optimizer,
        server_optimizer=toy.SGD(0.7, 0.5),
    )
    batches = [
        tf.data.Dataset.from_tensor_slices((np.float32(x), y))
        .batch(3)
        .repeat(2)
        for x, y in toy.in_numpy(ALL)
    ]
    with runtime.use("in_process", clients_per_step=3):
        state = theirs.initialize()
        for _ in range(3):
            state = theirs.next(state, batches).state
        expected = theirs.get_model_weights(state).trainable
        found = ours.weights(toy.after(ours, [ALL] * 3))
    toy.assert_close(found, expected)


@pytest.mark.usefixtures("at_once")
def test_of_an_optimizer_without_state_it_is_fedavg():
    found = [
        engine.weights(toy.after(engine))
        for engine in (toy.engine(MimeLite()), toy.engine(FedAvg()))
    ]
    toy.assert_close(*found, atol=1e-6)


@pytest.mark.usefixtures("at_once")
def test_the_round_s_rate_is_that_of_its_steps():
    def engine_at(rate):
        return toy.engine(
            MimeLite(),
            client_optimizer=toy.SGD(rate, momentum=0.8),
            element_spec={
                **toy.element_spec(),
                schedules.FIELD: schedules.FACTOR_SPEC,
            },
        )

    def after(rate, factor):
        return toy.after(
            engine_at(rate),
            element=lambda client, _: {
                **toy.element(client),
                schedules.FIELD: np.float32(factor),
            },
        ).server

    scaled, plain = after(0.4, 0.25), after(0.1, 1.0)
    toy.assert_close(
        scaled.global_model_weights.trainable,
        plain.global_model_weights.trainable,
        atol=1e-6,
    )
    # The server's stays what it is.
    assert scaled.extra["learning_rate"] == np.float32(0.4)


def test_a_step_reads_its_lot_twice_and_so_is_refused():
    private = RunConfig(
        algorithm=MimeLite(), example_dp=DpSgd(noise_multiplier=1.0)
    )
    with pytest.raises(UsageError, match="algorithm=mime_lite does not fit"):
        private.resolved()


def test_mechanisms_know_how_long_its_updates_are():
    config = RunConfig(dp=DistributedSkellam(noise_multiplier=1.0)).resolved()
    sampler = ledgers.build_sampler(config, 100)
    mime = dataclasses.replace(config, algorithm=MimeLite())
    sizes = [
        ledgers.mechanism_factory(c, sampler, 500)(1.0).num_parameters
        for c in (config, mime)
    ]
    assert sizes == [500, 1000]


@pytest.mark.parametrize("dp", [FixedClip(epsilon=50.0, clip_norm=3.0)])
def test_it_trains_under_central_privacy_at_the_same_price(dp):
    results = [
        tff_cnn.train(
            toy.config(
                algorithm=algorithm,
                client_optimizer=Sgd(0.1, 0.5),
                dp=dp,
                sampling="full",
            )
        )
        for algorithm in (MimeLite(), FedAvg())
    ]
    mime, plain = results
    assert mime.privacy["epsilon"] == plain.privacy["epsilon"] <= 50
    assert mime.metrics[-1]["noise_stddev"] == plain.metrics[-1]["noise_stddev"]
    assert mime.metrics[-1]["train_loss"] < mime.metrics[0]["train_loss"]


def test_a_run_goes_on(tmp_path, monkeypatch):
    config = toy.config(
        algorithm=MimeLite(),
        client_optimizer=Adam(0.05),
        client_schedule=Cosine(),
    )
    rows = toy.rows_of_an_interrupted_run(config, tmp_path, monkeypatch)
    size = 4 * (36 * 3 + 3)
    assert {row["bytes_up"] for row in rows} == {3 * (2 * size + 4)}
    # Weights, their two moments, four hyperparameters and a count.
    assert {row["bytes_down"] for row in rows} == {3 * (3 * size + 20)}
