import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.reference import fedper as reference
from tff_cnn import runtime
from tff_cnn.aggregators import Mean
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms.fedper import build_fedper
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.config import RunConfig
from tff_cnn.core.client_states import ClientStates
from tff_cnn.core.errors import UsageError
from tff_cnn.data import preprocessing
from tff_cnn.models import functional
from tff_cnn.training.engines.stateful import Stateful

K = tf.keras.layers
SGD = tff.learning.optimizers.build_sgdm
RATE = 0.2
BATCHING = preprocessing.Batching(epochs=2, batch_size=3, shuffle=False)
SIZES = (3, 7, 0, 5)
ROUNDS = ([0, 1, 3], [1, 2], [3, 1])


@pytest.fixture(scope="module")
def parts():
    """Of a linear body and a head: 64 x 4 weights, and 4 x 10 + 10."""

    def kernel(seed):
        return tf.keras.initializers.GlorotUniform(seed)

    model = tf.keras.Sequential(
        [
            K.InputLayer((8, 8, 1)),
            K.Flatten(),
            K.Dense(
                4, use_bias=False, kernel_initializer=kernel(3), name="body"
            ),
            K.Dense(10, kernel_initializer=kernel(4), name="head"),
        ]
    )
    return Parts(
        functional.from_keras(model),
        SGD(RATE),
        SGD(1.0),
        build_aggregator(Mean()),
        Weighting.EXAMPLES,
        preprocessing.element_spec((8, 8, 1)),
        lambda images: preprocessing.scale(images, 16),
        num_clients=len(SIZES),
    )


@pytest.fixture(scope="module")
def clients(digits):
    starts = np.cumsum((0, *SIZES[:-1]))
    return [
        digits.train.take(np.arange(start, start + size))
        for start, size in zip(starts, SIZES, strict=True)
    ]


def engine_of(parts, clients):
    process = build_fedper(parts)
    return Stateful(
        process,
        lambda number: ROUNDS[number - 1],
        lambda client, number: BATCHING.client_data(
            clients[client], np.zeros(2, np.int64)
        ),
        ClientStates(process.initial_kept),
    )


def test_three_rounds_equal_numpy(parts, clients):
    with runtime.use("in_process", clients_per_step=4):
        engine = engine_of(parts, clients)
        state = engine.initialize()
        for number in (1, 2, 3):
            result = engine.step(state, engine.plan(number))
            state = result.state
            if number == 1:
                assert runtime.current().schedule.last_size > 1
    body, *head = (np.float64(w) for w in parts.model.initial_weights[0])
    body, heads = reference.fedper_server(
        body,
        [head for _ in SIZES],
        [(c.images / 16, c.labels) for c in clients],
        ROUNDS,
        epochs=BATCHING.epochs,
        batch_size=BATCHING.batch_size,
        rate=RATE,
    )
    for client, expected in enumerate(heads):
        found = engine.personal_weights(state, client)
        for a, b in zip(found, [body, *expected], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    # What the server has is the body; its head is the one of round 0.
    for a, b in zip(engine.weights(state), [body, *head], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert np.abs(heads[1][0] - head[0]).max() > 1e-2
    assert np.abs(heads[1][0] - heads[3][0]).max() > 1e-2
    # Two clients are sent the body, and send one of it with a weight.
    assert result.row["bytes_down"] == 2 * 64 * 4 * 4
    assert result.row["bytes_up"] == 2 * (64 * 4 * 4 + 4)


def test_layers_are_matched_by_their_whole_names(parts):
    for which in ("head", "he.*", "nothing|head"):
        assert build_fedper(parts, which).rule.is_local == (False, True, True)
    assert build_fedper(parts, "body").rule.is_local == (True, False, False)


@pytest.mark.parametrize(
    ("which", "told"),
    [("hea", "matches no layer"), ("flatten", "matches no"), (".*", "all")],
)
def test_there_is_a_body_and_a_head(parts, which, told):
    with pytest.raises(UsageError, match=told) as caught:
        build_fedper(parts, which)
    assert "body, head: give one" in str(caught.value)


def test_what_is_no_pattern_is_refused_at_once():
    from tff_cnn.algorithms import FedPer

    with pytest.raises(UsageError, match=r"local_layers=\( is no regular"):
        RunConfig(algorithm=FedPer(local_layers="("))
