"""FedDF: against NumPy, its limits, and what it refuses."""

import dataclasses
import functools
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.reference import feddf as reference
from tff_cnn import runtime
from tff_cnn.aggregators import Mean
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms import fedavg, feddf
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.config import RunConfig
from tff_cnn.core import randomness
from tff_cnn.core.errors import UsageError
from tff_cnn.core.randomness import Purpose
from tff_cnn.data import preprocessing
from tff_cnn.data.public_examples import PublicExamples
from tff_cnn.models import functional, objectives
from tff_cnn.privacy import DpSgd
from tff_cnn.training.engine import Work
from tff_cnn.training.engines import distillation
from tff_cnn.training.engines.federated import Federated

SGD = tff.learning.optimizers.build_sgdm
RATE, DISTILL_RATE = 0.1, 0.01
BATCHING = preprocessing.Batching(epochs=2, batch_size=3, shuffle=False)
SIZES = (3, 7, 0, 5)
COHORTS = ([0, 1, 3], [1, 2, 3], [3, 0])
LOCAL = {"epochs": 2, "batch_size": 3, "learning_rate": RATE}


def scale(images):
    return preprocessing.scale(images, 16)


@pytest.fixture(scope="module")
def parts():
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
        Weighting.EXAMPLES,
        preprocessing.element_spec((8, 8, 1)),
        scale,
    )


@pytest.fixture(scope="module")
def clients(digits):
    starts = np.cumsum((0, *SIZES[:-1]))
    return [
        digits.train.take(np.arange(start, start + size))
        for start, size in zip(starts, SIZES, strict=True)
    ]


@pytest.fixture(scope="module")
def public(digits):
    images = digits.train.take(np.arange(100, 140)).images
    return PublicExamples(images, None, 16)


@pytest.fixture(scope="module")
def engine(parts, clients, public):
    """Makes one with so many steps; what is slow to build is built once."""

    @functools.cache
    def process(rate):
        optimizer = SGD(rate)
        return feddf.build_feddf(
            dataclasses.replace(parts, client_optimizer=optimizer),
            distill_steps=6,
            distill_batch_size=16,
            distill_learning_rate=DISTILL_RATE,
        )

    def make(steps=6, rate=RATE):
        task = types.SimpleNamespace(
            objective=objectives.SOFTMAX, public=public, prepare_public=scale
        )
        run = types.SimpleNamespace(
            process=dataclasses.replace(process(rate), num_steps=steps),
            task=task,
            config=types.SimpleNamespace(seed=5),
            sample_cohort=lambda number: COHORTS[number - 1],
            client_data=lambda client, number: to_data(clients[client]),
        )
        return distillation.build(run, None)

    return make


@pytest.fixture(scope="module")
def in_process():
    with runtime.use("in_process", clients_per_step=2):
        yield


def to_data(examples):
    return BATCHING.client_data(examples, np.zeros(2, np.int64))


def after(engine, rounds, state=None, first=1):
    state = engine.initialize() if state is None else state
    for number in range(first, rounds + 1):
        result = engine.step(state, engine.plan(number))
        state = result.state
    return state, result.row


def in_numpy(parts, clients, public, steps=6):
    """Three rounds: the weights after each."""
    weights, found = parts.model.initial_weights[0], []
    for number, cohort in enumerate(COHORTS, start=1):
        batches = distillation.shuffled_batches(
            len(public),
            steps,
            16,
            randomness.generator(5, Purpose.PUBLIC_BATCHES, number),
        )
        # Who has no examples has no model.
        chosen = [clients[c] for c in cohort if len(clients[c])]
        weights, _ = reference.server_round(
            weights,
            [(c.images / 16.0, c.labels) for c in chosen],
            [len(c) for c in chosen],
            public.images / 16.0,
            batches,
            DISTILL_RATE,
            **LOCAL,
        )
        found.append(weights)
    return found


def check_equals_numpy(made, parts, clients, public):
    expected = in_numpy(parts, clients, public)
    undistilled = in_numpy(parts, clients, public, steps=0)
    state = made.initialize()
    for number, cohort in enumerate(COHORTS, start=1):
        result = made.step(state, made.plan(number))
        state = result.state
        for a, b, c in zip(
            made.weights(state),
            expected[number - 1],
            undistilled[number - 1],
            strict=True,
        ):
            np.testing.assert_allclose(a, b, atol=1e-5)
            assert np.abs(b - c).max() > 1e-3  # The distillation is felt.
        assert result.row["distill_loss"] > 0
        # Weights down, an update and its weight up: as FedAvg's.
        assert result.row["bytes_down"] == len(cohort) * 650 * 4
        assert result.row["bytes_up"] == len(cohort) * (650 * 4 + 4)


@pytest.mark.usefixtures("in_process")
def test_equals_numpy(engine, parts, clients, public):
    check_equals_numpy(engine(), parts, clients, public)
    assert runtime.current().schedule.last_size > 1  # Vectorized.


@pytest.mark.usefixtures("in_process")
def test_without_steps_it_is_fedavg(engine, parts, clients):
    federated = Federated(
        fedavg.build_fedavg(parts),
        lambda number: COHORTS[number - 1],
        lambda client, number: to_data(clients[client]),
    )
    state, row = after(engine(steps=0), 3)
    expected, expected_row = after(federated, 3)
    for a, b in zip(
        engine().weights(state), federated.weights(expected), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert row["distill_loss"] is None
    assert row["train_loss"] == pytest.approx(expected_row["train_loss"])


@pytest.mark.usefixtures("in_process")
def test_who_has_no_model_teaches_nothing(engine, parts):
    # Client 2 has no examples: it is no teacher, nor excluded.
    made = engine()
    data = [made.client_data(2, 1)]
    alone = made.step(made.initialize(), Work(1, [2], data))
    assert alone.row["clients_excluded"] == 0
    assert alone.row["distill_loss"] is None
    # Nor is one whose training overflows.
    lost = engine(rate=1e38)
    result = lost.step(lost.initialize(), lost.plan(1))
    assert result.row["clients_excluded"] == 3
    assert result.row["distill_loss"] is None
    for a, b in zip(
        lost.weights(result.state), parts.model.initial_weights[0], strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_teachers_speak_as_models_do_when_they_are_used(public):
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.InputLayer((8, 8, 1)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10),
        ]
    )
    teaching = feddf.Distillation(functional.from_keras(model), scale, 0.1)
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(64, 10)).astype(np.float32)
    bias = rng.normal(size=10).astype(np.float32)
    found = teaching.ensemble([(kernel, bias)], public.images)
    images = scale(public.images).numpy().reshape(-1, 64)
    np.testing.assert_allclose(found, images @ kernel + bias, atol=1e-5)


def test_the_loss_is_the_divergence_and_the_rate_falls_to_zero():
    teacher = np.log(np.array([[0.5, 0.5], [0.25, 0.75]], np.float32))
    student = np.log(np.array([[0.25, 0.75], [0.25, 0.75]], np.float32))
    expected = 0.5 * (0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    found = feddf.divergence(tf.constant(teacher), tf.constant(student + 7))
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(feddf.divergence(teacher, teacher)) == 0
    found = [float(feddf.cosine(tf.constant(p))) for p in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(found, [1, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dp": "fixed_clip"}, "the server distils the models of single"),
        ({"local_randomizer": "gaussian"}, "it randomizes the updates that"),
    ],
)
def test_what_it_is_refused_with(changes, reason):
    with pytest.raises(UsageError, match=reason):
        RunConfig(algorithm="feddf", **changes).resolved()


def test_noise_on_the_examples_of_each_client_goes_with_it():
    noise = DpSgd(noise_multiplier=1.0)
    config = RunConfig(algorithm="feddf", example_dp=noise).resolved()
    assert config.client_weighting == "uniform"


# The last of the module: the worker takes the place of its runtime.
@pytest.mark.usefixtures("native_runtime")
def test_equals_numpy_on_the_native_runtime(engine, parts, clients, public):
    check_equals_numpy(engine(), parts, clients, public)
