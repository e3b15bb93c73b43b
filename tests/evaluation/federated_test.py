import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tff_cnn.data.examples import ClientExamples, Examples
from tff_cnn.data.standards import Standard
from tff_cnn.data.transforms import Preparation
from tff_cnn.evaluation.federated import FederatedEvaluation, statistics

INDICES = [np.array([1, 4]), np.arange(24), np.array([0]), np.array([], int)]


def linear_model(channels=1):
    model = tf.keras.Sequential(
        [tf.keras.layers.Flatten(), tf.keras.layers.Dense(3)]
    )
    model.build((None, 8, 8, channels))
    return model


def always(label, margin=1.0):
    """Weights of a model that always gives one answer of three."""
    bias = np.zeros(3, "f4")
    bias[label] = margin
    return [np.zeros((64, 3), "f4"), bias]


def evaluation(examples, **options):
    return FederatedEvaluation(
        linear_model(), examples, Preparation(16), **options
    )


@pytest.mark.parametrize("batch_size", [500, 5])
def test_each_client_is_judged_by_its_own_examples(tiny_examples, batch_size):
    clients = ClientExamples(tiny_examples, INDICES)
    measure = evaluation(tiny_examples, batch_size=batch_size)
    found = measure(clients, always(1))
    assert found.examples.tolist() == [2, 24, 1, 0]
    np.testing.assert_array_equal(found.accuracy, [1, 8 / 24, 0, np.nan])
    # -log softmax of (0, 1, 0), by hand.
    right, wrong = np.log(2 + np.e) - 1, np.log(2 + np.e)
    expected = [right, (right + 2 * wrong) / 3, wrong, np.nan]
    np.testing.assert_allclose(found.loss, expected, rtol=1e-6)
    chosen = measure(clients, always(1), [2, 0, 0])
    np.testing.assert_array_equal(chosen.accuracy, [0, 1, 1])
    assert measure(clients, always(1), []).accuracy.shape == (0,)
    # One graph, for batches of every size.
    assert measure._measure.experimental_get_tracing_count() == 1


def test_nothing_is_dropped_where_a_model_is_judged(tiny_examples):
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dropout(0.9),
            tf.keras.layers.Dense(3),
        ]
    )
    model.build((None, 8, 8, 1))
    weights = [np.full((64, 3), 0.1, "f4") * [0, 1, 2], np.zeros(3, "f4")]
    clients = ClientExamples(tiny_examples, INDICES)
    measure = FederatedEvaluation(model, tiny_examples, Preparation(16))
    plain = evaluation(tiny_examples)
    np.testing.assert_array_equal(
        measure(clients, weights).loss, plain(clients, weights).loss
    )


def test_each_client_may_have_a_model_of_its_own(tiny_examples):
    clients = ClientExamples(tiny_examples, INDICES)
    measure = evaluation(tiny_examples)
    asked = []

    def weights_of(client):
        asked.append(client)
        return always((1, 0, 0)[client])

    found = measure(clients, weights_of)
    np.testing.assert_array_equal(found.accuracy, [1, 8 / 24, 1, np.nan])
    assert asked == [0, 1, 2]  # Who has nothing to measure is not asked.
    assert found.examples.tolist() == [2, 24, 1, 0]
    assert measure(clients, weights_of, []).accuracy.shape == (0,)
    assert measure._measure.experimental_get_tracing_count() == 1


def test_images_are_prepared_as_in_training(tiny_examples):
    """A model of three channels; bright is what is above the mean."""
    weights = [np.zeros((192, 3), "f4"), np.zeros(3, "f4")]
    weights[0][:3] = [-1, 1, 0]  # All channels of the first pixel.
    is_bright = tiny_examples.images[:, 0, 0, 0] > 0.6 * 16
    examples = Examples(tiny_examples.images, is_bright.astype(np.int32))
    measure = FederatedEvaluation(
        linear_model(3),
        examples,
        Preparation(16, True, Standard((0.6,), (0.1,))),
    )
    clients = ClientExamples(examples, [np.arange(24)])
    assert measure(clients, weights).accuracy == [1.0]
    assert 0 < is_bright.sum() < 24


def test_what_perturbs_sees_model_images_and_labels(tiny_examples):
    """Every image becomes the one that raises the loss most: a gradient."""
    clients = ClientExamples(tiny_examples, INDICES)
    seeds = []

    def perturb(logits_of, images, labels, seed):
        with tf.GradientTape() as tape:
            tape.watch(images)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, logits_of(images)
            )
        tf.py_function(lambda s: seeds.append(tuple(s.numpy())), [seed], [])
        return images + tf.sign(tape.gradient(losses, images))

    # The logit of the label that is there falls with each bright pixel.
    weights = [np.zeros((64, 3), "f4"), np.float32([0, 1, 0])]
    weights[0][:, 1] = 0.01
    plain = evaluation(tiny_examples)(clients, weights)
    measure = evaluation(tiny_examples, perturb=perturb, batch_size=20)
    robust = measure(clients, weights, seed=3)
    assert np.all(robust.loss[:3] > plain.loss[:3] + 0.1)
    assert len(set(seeds)) == 2  # One for each batch.
    again = measure(clients, weights, seed=4)
    np.testing.assert_array_equal(robust.loss, again.loss)
    assert len(set(seeds)) == 4


def test_a_thousand_clients_share_few_batches(tiny_examples):
    indices = [np.array([c % 24, 3, 7]) for c in range(1000)]
    clients = ClientExamples(tiny_examples, indices)
    measure = evaluation(tiny_examples)
    calls = []
    compiled = measure._measure
    measure._measure = lambda *batch: calls.append(batch) or compiled(*batch)
    found = measure(clients, always(1))
    assert len(calls) == 6  # 3,000 examples, 500 at a time.
    expected = [((c % 3 == 1) + 1) / 3 for c in range(1000)]
    np.testing.assert_allclose(found.accuracy, expected)


CLIENTS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40)), min_size=1, max_size=30
)


@given(CLIENTS)
def test_statistics_are_numpy_s_of_each_client_or_each_example(clients):
    values, examples = map(np.array, zip(*clients, strict=True))
    found = statistics(values, examples)
    assert found["num_clients"] == len(clients)
    assert found["num_without_examples"] == np.sum(examples == 0)
    assert found["num_examples"] == examples.sum()
    has_any = examples > 0
    if not has_any.any():
        assert set(found["uniform"].values()) == {None}
        return
    each_client = values[has_any]
    each_example = np.repeat(each_client, examples[has_any])
    for name, of in (("uniform", each_client), ("weighted", each_example)):
        kind = found[name]
        assert kind["mean"] == pytest.approx(of.mean(), abs=1e-12)
        assert kind["variance"] == pytest.approx(of.var(), abs=1e-12)
        ordered = np.sort(of)
        exact = [ordered[-(-k * len(of) // 10) - 1] for k in range(1, 10)]
        assert kind["deciles"] == exact
        # Ten times as many, of whom a tenth is a whole number.
        lowest = np.sort(np.repeat(of, 10))[: len(of)]
        assert kind["worst_decile"] == pytest.approx(lowest.mean(), abs=1e-12)


def test_statistics_by_hand():
    accuracy = np.array([0.5, 1.0, np.nan, 0.0, 0.75])
    found = statistics(accuracy, np.array([2, 1, 0, 1, 16]))
    assert found["num_clients"] == 5 and found["num_without_examples"] == 1
    assert found["num_examples"] == 20
    assert found["uniform"] == {
        "mean": 2.25 / 4,
        "variance": pytest.approx(
            (0.0625**2 + 0.4375**2 + 0.5625**2 + 0.1875**2) / 4
        ),
        # Tenths of four clients: 0.4 of one, 0.8, 1.2, ...
        "deciles": [0, 0, 0.5, 0.5, 0.5, 0.75, 0.75, 1, 1],
        "worst_decile": 0.0,  # 0.4 of the worst client.
    }
    assert found["weighted"]["mean"] == (1 + 1 + 0 + 12) / 20
    # The worst example of 20, and one of the two next to it.
    assert found["weighted"]["worst_decile"] == 0.25


def test_a_model_that_has_diverged_has_statistics(recwarn):
    losses = np.array([1.0, np.inf, np.nan])
    found = statistics(losses, np.array([1, 2, 3]))
    assert np.isnan(found["uniform"]["mean"]) and not recwarn.list
