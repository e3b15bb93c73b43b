"""FedMD: against NumPy, with two kinds of models, and its limits."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.reference import fedmd as reference
from tff_cnn import runtime
from tff_cnn.algorithms import FedMd, fedmd
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.config import RunConfig
from tff_cnn.core import randomness
from tff_cnn.core.client_states import ClientStates
from tff_cnn.core.errors import UsageError
from tff_cnn.core.randomness import Purpose
from tff_cnn.data import preprocessing
from tff_cnn.data.preprocessing import Batching
from tff_cnn.data.public_examples import PublicExamples
from tff_cnn.models import functional
from tff_cnn.privacy import DpSgd, FixedClip
from tff_cnn.training.engines.exchange import Exchange, State

RATE, SEED = 0.1, 5
BATCHING = Batching(epochs=2, batch_size=3, shuffle=False)
SIZES = (3, 7, 0, 8)
COHORTS = ([0, 1, 3], [1, 2, 3], [3, 0])
NUM_PUBLIC, NUM_EXCHANGED = 20, 12
# Of each kind of model: rows of the image that it does not look at.
CROPPED = (0, 4)


@functools.cache
def party(cropped: int) -> fedmd.Party:
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((8, 8, 1)),
            tf.keras.layers.Cropping2D(((0, cropped), (0, 0))),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(
                10, kernel_initializer=tf.keras.initializers.GlorotUniform(3)
            ),
        ]
    )
    parts = Parts(
        functional.from_keras(model),
        tff.learning.optimizers.build_sgdm(RATE),
        None,
        None,
        Weighting.UNIFORM,
        preprocessing.element_spec((8, 8, 1)),
        lambda images: preprocessing.scale(images, 16),
    )
    return fedmd.build_fedmd(
        parts,
        consensus_examples=NUM_EXCHANGED,
        transfer_epochs=2,
        digest_epochs=3,
        public_batch_size=8,
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
    found = digits.train.take(np.arange(100, 100 + NUM_PUBLIC))
    images = found.images.astype(np.float32) / 16
    return PublicExamples(images, found.labels, 1)


def seed_of(client, number):
    return randomness.stateless_seed(
        SEED, Purpose.LOCAL_TRAINING, number, client
    )


def engine(clients, public):
    """Client k is of the (k mod 2)-th kind, the student of the first."""
    parties = tuple(map(party, CROPPED))
    return Exchange(
        parties[0],
        parties,
        public,
        SEED,
        lambda number: COHORTS[number - 1],
        lambda client, number: BATCHING.client_data(
            clients[client], seed_of(client, number)
        ),
        State(
            ClientStates(parties[0].initial_model),
            tuple(ClientStates(p.initial_model) for p in parties),
        ),
        (),
    )


def real(batches):
    """Index arrays of what are steps."""
    return [b[b >= 0] for b in batches if b[0] >= 0]


def reference_party(kind, examples):
    weights = [
        np.float64(w)
        for w in party(CROPPED[kind]).weights(
            party(CROPPED[kind]).initial_model
        )
    ]
    pixels = slice(0, 8 * (8 - CROPPED[kind]))
    images = examples.images.reshape(len(examples), 64) / 16
    return reference.Party(pixels, weights, images, examples.labels)


def in_numpy(clients, public):
    """After each of three rounds: the student's weights, and the clients'."""
    parties = [reference_party(k % 2, c) for k, c in enumerate(clients)]
    student = reference_party(0, clients[2])
    for number, cohort in enumerate(COHORTS, start=1):
        subset = randomness.generator(
            SEED, Purpose.PUBLIC_BATCHES, number
        ).permutation(NUM_PUBLIC)[:NUM_EXCHANGED]

        def batches(of, phase, number=number):
            seed = randomness.stateless_seed(
                SEED, Purpose.PUBLIC_BATCHES, number
            )
            if of is not student:
                seed = seed_of(parties.index(of), number)
            batching, size = BATCHING, len(of.labels)
            if phase != "private":
                epochs, size = (2, NUM_PUBLIC), (3, NUM_EXCHANGED)
                epochs, size = epochs if phase == "public" else size
                batching = Batching(epochs, 8)
            return real(batching.batches(size, seed))

        reference.one_round(
            [parties[client] for client in cohort],
            student,
            public.images.reshape(-1, 64),
            public.labels,
            np.sort(subset),
            batches,
            RATE,
        )
        yield student.weights, [p.weights for p in parties]


def check_equals_numpy(made, clients, public):
    state, first = made.initialize(), made.initialize()
    for number, (student, models) in enumerate(
        in_numpy(clients, public), start=1
    ):
        result = made.step(state, made.plan(number))
        state = result.state
        for a, b, c in zip(
            made.weights(state), student, made.weights(first), strict=True
        ):
            np.testing.assert_allclose(a, b, atol=1e-5)
            assert np.abs(a - c).max() > 1e-2
        for client, expected in enumerate(models):
            found = made.personal_weights(state, client)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-5)
        size = len(COHORTS[number - 1])
        for name in ("bytes_down", "bytes_up"):
            assert result.row[name] == size * NUM_EXCHANGED * 10 * 4
    # Clients 3 and 0: E passes each, and what was digested.
    assert result.row["examples"] == 2 * (8 + 3) + 2 * 3 * NUM_EXCHANGED
    assert result.row["train_accuracy"] > 0.5


def test_equals_numpy(clients, public):
    together = []

    def watched(computation):
        def call(*arguments):
            found = computation(*arguments)
            together.append(runtime.current().schedule.last_size)
            return found

        return call

    made = engine(clients, public)
    names = ("transfer", "scores", "digest")
    parties = [
        dataclasses.replace(p, **{n: watched(getattr(p, n)) for n in names})
        for p in made.parties
    ]
    made = dataclasses.replace(made, parties=tuple(parties))
    with runtime.use("in_process", clients_per_step=2):
        check_equals_numpy(made, clients, public)
    assert set(together) == {2}  # Vectorized, in each phase.


@pytest.mark.usefixtures("native_runtime")
def test_equals_numpy_on_the_native_runtime(clients, public):
    check_equals_numpy(engine(clients, public), clients, public)


def test_the_error_is_a_mean_over_classes():
    scores = tf.constant([[1.0, -3.0], [0.0, 0.0]])
    consensus = tf.constant([[2.0, 1.0], [0.0, 0.5]])
    np.testing.assert_allclose(
        fedmd.mean_absolute_error(scores, consensus), [2.5, 0.25]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dp": FixedClip(noise_multiplier=1.0)}, "does not fit dp=fixed_clip"),
        ({"example_dp": DpSgd(noise_multiplier=1.0)}, "not fit example_dp=dp"),
        ({"local_randomizer": "gaussian"}, "not fit local_randomizer=gauss"),
        ({"client_weighting": "examples"}, "its consensus is the plain mean"),
        ({"server_optimizer": "adam"}, "server_optimizer would be ignored"),
        ({"trainable": "head"}, "clients' models are their own"),
        (
            {"algorithm": FedMd(client_models="lenet5,digits_cmn")},
            "unknown model 'digits_cmn': did you mean 'digits_cnn'",
        ),
    ],
)
def test_what_it_is_refused_with(changes, message):
    with pytest.raises(UsageError, match=message):
        RunConfig(**{"algorithm": "fedmd", **changes}).resolved()


def test_clients_models_are_dealt_round_robin():
    assert FedMd().models == ()
    names = FedMd(client_models="digits_cnn,lenet5").models
    dealt = itertools.islice(itertools.cycle(names), 3)
    assert list(dealt) == ["digits_cnn", "lenet5", "digits_cnn"]
