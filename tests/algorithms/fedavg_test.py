import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.reference import fedavg as reference
from tff_cnn.aggregators import Mean
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms.fedavg import build_fedavg
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.data import preprocessing
from tff_cnn.data.examples import Examples
from tff_cnn.models import MODELS, functional

pytestmark = pytest.mark.usefixtures("native_runtime")

SIZES = (3, 7, 5)  # Ragged, with partial batches for batch size 3.
SGD = tff.learning.optimizers.build_sgdm


@pytest.fixture(scope="module")
def clients(digits):
    starts = np.cumsum((0, *SIZES[:-1]))
    return [
        digits.train.take(np.arange(start, start + size))
        for start, size in zip(starts, SIZES, strict=True)
    ]


def scale(images):
    return preprocessing.scale(images, 16)


BATCHING = preprocessing.Batching(epochs=2, batch_size=3, shuffle=False)


def to_data(examples: Examples, seed=(0, 0), batching=BATCHING):
    return batching.client_data(examples, np.array(seed, np.int64))


def build(keras_model, weighting, server_optimizer, preprocess=scale):
    return build_fedavg(
        Parts(
            functional.from_keras(keras_model),
            SGD(0.1),
            server_optimizer,
            build_aggregator(Mean()),
            weighting,
            preprocessing.element_spec((8, 8, 1)),
            preprocess,
        )
    )


def softmax_regression():
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((8, 8, 1)),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(
                10, kernel_initializer=tf.keras.initializers.GlorotUniform(3)
            ),
        ]
    )


@pytest.mark.parametrize("weighting", Weighting)
def test_equals_the_numpy_reference(clients, weighting):
    model = softmax_regression()
    process = build(model, weighting, SGD(0.7, momentum=0.9))
    state = process.initialize()
    weights = model.get_weights()
    buffer = [np.zeros_like(w) for w in weights]
    shares = SIZES if weighting is Weighting.EXAMPLES else (1, 1, 1)
    for _ in range(4):
        state = process.next(state, [to_data(c) for c in clients]).state
        weights, buffer = reference.server_round(
            weights,
            buffer,
            [(c.images / 16.0, c.labels) for c in clients],
            shares,
            server_learning_rate=0.7,
            server_momentum=0.9,
            epochs=2,
            batch_size=3,
            learning_rate=0.1,
        )
    trained = process.get_model_weights(state).trainable
    for found, expected in zip(trained, weights, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_equals_tffs_weighted_fed_avg_on_the_same_batches(clients):
    model = MODELS.get("digits_cnn")((8, 8, 1), 10, 0)
    ours = build(model, Weighting.EXAMPLES, SGD(1.0))
    theirs = tff.learning.algorithms.build_weighted_fed_avg(
        functional.from_keras(model), SGD(0.1), SGD(1.0)
    )
    batches = [
        tf.data.Dataset.from_tensor_slices(
            (np.float32(c.images / 16.0), c.labels)
        )
        .batch(3)
        .repeat(2)
        for c in clients
    ]
    our_state, their_state = ours.initialize(), theirs.initialize()
    for _ in range(3):
        our_output = ours.next(our_state, [to_data(c) for c in clients])
        their_output = theirs.next(their_state, batches)
        our_state, their_state = our_output.state, their_output.state
    our_train = our_output.metrics["client_work"]["train"]
    their_train = their_output.metrics["client_work"]["train"]
    for metric in ("loss", "accuracy"):
        assert our_train[metric] == pytest.approx(their_train[metric], abs=1e-5)
    for found, expected in zip(
        ours.get_model_weights(our_state).trainable,
        theirs.get_model_weights(their_state).trainable,
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_one_client_with_one_full_batch_is_plain_gradient_descent(clients):
    model = softmax_regression()
    whole = preprocessing.Batching(epochs=1, batch_size=100)
    process = build(model, Weighting.UNIFORM, SGD(1.0))
    state = process.next(
        process.initialize(), [to_data(clients[1], batching=whole)]
    ).state
    gradient = reference.softmax_gradient(
        model.get_weights(), clients[1].images / 16.0, clients[1].labels
    )
    for found, before, step in zip(
        process.get_model_weights(state).trainable,
        model.get_weights(),
        gradient,
        strict=True,
    ):
        np.testing.assert_allclose(found, before - 0.1 * step, atol=1e-6)


def test_empty_cohort_changes_nothing():
    process = build(softmax_regression(), Weighting.EXAMPLES, SGD(1.0))
    state = process.initialize()
    output = process.next(state, [])
    before = process.get_model_weights(state).trainable
    after = process.get_model_weights(output.state).trainable
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isnan(output.metrics["client_work"]["train"]["loss"])


@pytest.mark.parametrize("weighting", Weighting)
def test_a_client_whose_update_is_not_finite_is_excluded_and_counted(
    clients, weighting
):
    # The client whose shard is all white overflows in its preprocessing.
    model = softmax_regression()

    def overflow_on_marked(images):
        is_marked = tf.reduce_any(tf.equal(images[:, 0, 0, 0], 255))
        factor = tf.where(is_marked, 1e38, 1.0)
        return scale(images) * factor

    process = build(model, weighting, SGD(1.0), overflow_on_marked)
    marked = Examples(np.full_like(clients[1].images, 255), clients[1].labels)
    state = process.initialize()
    good = [to_data(clients[0]), to_data(clients[2])]
    expected = process.next(state, good)
    found = process.next(state, [good[0], to_data(marked), good[1]])
    assert expected.metrics["client_work"]["num_nonfinite_clients"] == 0
    assert found.metrics["client_work"]["num_nonfinite_clients"] == 1
    for metric in ("loss", "accuracy"):
        assert found.metrics["client_work"]["train"][metric] == pytest.approx(
            expected.metrics["client_work"]["train"][metric], rel=1e-6
        )
    for a, b in zip(
        process.get_model_weights(found.state).trainable,
        process.get_model_weights(expected.state).trainable,
        strict=True,
    ):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_shuffling_and_dropout_are_functions_of_the_clients_seed(clients):
    shape = (8, 8, 1)
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(shape),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dropout(0.5),
            tf.keras.layers.Dense(10),
        ]
    )
    process = build(model, Weighting.UNIFORM, SGD(1.0))
    state = process.initialize()

    def trained(seed):
        shuffled = preprocessing.Batching(epochs=2, batch_size=3)
        data = [to_data(clients[1], seed, shuffled)]
        after = process.next(state, data).state
        return process.get_model_weights(after).trainable[0]

    np.testing.assert_array_equal(trained((1, 2)), trained((1, 2)))
    assert np.abs(trained((1, 2)) - trained((1, 3))).max() > 1e-4


def test_shuffling_alone_changes_the_order_and_nothing_else(clients):
    process = build(softmax_regression(), Weighting.UNIFORM, SGD(1.0))
    one_batch = preprocessing.Batching(epochs=1, batch_size=100)
    plain = preprocessing.Batching(epochs=1, batch_size=100, shuffle=False)
    small = preprocessing.Batching(epochs=1, batch_size=2)

    def trained(batching, seed):
        data = [to_data(clients[1], seed, batching)]
        state = process.next(process.initialize(), data).state
        return process.get_model_weights(state).trainable[0]

    # In a full batch the order does not matter, in small ones it does.
    np.testing.assert_allclose(
        trained(one_batch, (1, 2)), trained(plain, (0, 0)), atol=1e-6
    )
    assert np.abs(trained(small, (1, 2)) - trained(small, (3, 2))).max() > 1e-5
