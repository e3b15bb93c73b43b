import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.core.errors import UsageError
from tff_cnn.models import functional, trainable

K = tf.keras.layers
IMAGES = np.random.default_rng(0).random((6, 8, 8, 1)).astype(np.float32)


def backbone():
    return tf.keras.Sequential(
        [
            K.InputLayer((8, 8, 1)),
            K.Conv2D(3, 3, name="first"),
            K.BatchNormalization(),
            K.ReLU(),
            K.Conv2D(2, 3),
        ],
        name="backbone",
    )


def model_with(inner):
    """A backbone and two dense layers, whose statistics are not those of 0."""
    image = tf.keras.Input((8, 8, 1))
    x = K.Dense(4)(K.Flatten()(inner(image)))
    model = tf.keras.Model(image, K.Dense(3)(x))
    rng = np.random.default_rng(1)
    model.set_weights(
        [rng.uniform(0.5, 1, w.shape) for w in model.get_weights()]
    )
    return model


def trained(model) -> list[str]:
    """Names of the layers of which something is sent."""
    sent = {id(v) for v in model.trainable_weights}
    return [
        named.name
        for named in trainable.named_layers(model)
        if sent & {id(v) for v in named.layer.weights}
    ]


def test_layers_have_the_names_of_a_process_that_builds_nothing_else():
    K.Dense(1), K.Conv2D(1, 1)  # They take numbers.
    for _ in range(2):
        names = [n.name for n in trainable.named_layers(model_with(backbone()))]
        assert names == [
            "backbone/first",
            "backbone/batch_normalization",
            "backbone/re_lu",
            "backbone/conv2d",
            "flatten",
            "dense",
            "dense_1",
        ]


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("head", ["dense_1"]),
        ("dense", ["dense"]),  # The whole name.
        ("dense.*", ["dense", "dense_1"]),
        ("backbone/conv2d|dense_1", ["backbone/conv2d", "dense_1"]),
    ],
)
def test_only_what_is_chosen_is_trained(which, expected):
    model = model_with(backbone())
    for _ in range(2):  # The second time changes nothing.
        trainable.freeze(model, which)
        assert trained(model) == expected
    trainable.freeze(model, ".*")
    assert len(trained(model)) == 5


def test_each_trained_weight_knows_its_layer():
    model = model_with(backbone())
    trainable.freeze(model, "backbone/conv2d|dense_1|dense")
    names = ["backbone/conv2d", "dense", "dense_1"]
    expected = tuple(name for name in names for _ in range(2))
    assert trainable.weight_layers(model) == expected
    assert functional.from_keras(model).weight_layers == expected


def test_all_is_what_the_model_does_not_freeze_itself():
    inner = backbone()
    model = model_with(inner)
    trainable.freeze(model, "all")
    assert len(trained(model)) == 5
    inner.trainable = False
    inner.layers[0].trainable = True  # In a model that is frozen.
    trainable.freeze(model, "all")
    assert trained(model) == ["dense", "dense_1"]
    assert not inner.layers[0].trainable


def test_a_name_that_no_layer_has_is_told_with_those_that_there_are():
    with pytest.raises(UsageError) as caught:
        trainable.freeze(model_with(backbone()), "conv2d")
    told = str(caught.value)
    assert "trainable=conv2d matches no layer" in told
    assert "backbone/first, backbone/batch_normalization, backbone/conv2d" in (
        told
    )


def test_frozen_weights_are_constants_of_the_functional_model():
    model = model_with(backbone())
    trainable.freeze(model, "head")
    wrapped = functional.from_keras(model)
    sent, rest = wrapped.initial_weights
    assert [w.shape for w in sent] == [(4, 3), (3,)] and rest == ()
    # Batch normalization among them uses its statistics, also in training.
    expected = model(IMAGES, training=False)
    found = wrapped.forward(sent, IMAGES, tf.constant([0, 0]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = wrapped.predict_on_batch(wrapped.initial_weights, IMAGES, True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # The model is its own from here on.
    model.set_weights([0 * w for w in model.get_weights()])
    found = wrapped.forward(sent, IMAGES, tf.constant([0, 0]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gradients_are_those_of_the_chosen_layers():
    model = model_with(backbone())
    trainable.freeze(model, "backbone/conv2d|dense_1")
    wrapped = functional.from_keras(model)
    weights = [tf.constant(w) for w in wrapped.initial_weights[0]]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        total = tf.reduce_sum(wrapped.forward(weights, IMAGES, [0, 0]) ** 2)
    found = tape.gradient(total, weights)
    with tf.GradientTape() as tape:
        expected = tf.reduce_sum(model(IMAGES, training=False) ** 2)
    expected = tape.gradient(expected, model.trainable_weights)
    assert len(found) == 4
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_batch_normalization_that_is_trained_is_refused_with_the_remedy():
    model = model_with(backbone())
    trainable.freeze(model, "backbone/.*")
    with pytest.raises(UsageError, match="'batch_norm.*freeze it"):
        functional.from_keras(model)


def test_weights_are_merged_in_the_order_of_the_model():
    model = model_with(backbone())
    before = model.get_weights()
    trainable.freeze(model, "dense")
    found = trainable.merged(model, [np.full((32, 4), 7.0), np.zeros(4)])
    for i, (a, b) in enumerate(zip(found, before, strict=True)):
        if a.shape == (32, 4):
            assert (a == 7).all() and (found[i + 1] == 0).all()
        elif not (a.shape == (4,) and (a == 0).all()):
            np.testing.assert_array_equal(a, b)


def test_the_digest_of_what_is_frozen():
    model = model_with(backbone())
    assert trainable.frozen_digest(model) is None
    trainable.freeze(model, "head")
    before = trainable.frozen_digest(model)
    model.layers[-1].set_weights([np.zeros((4, 3)), np.zeros(3)])
    assert trainable.frozen_digest(model) == before
    trainable.freeze(model, "dense.*")
    assert trainable.frozen_digest(model) != before
    trainable.freeze(model, "head")
    assert trainable.frozen_digest(model) == before
    model.get_layer("backbone").layers[0].set_weights(
        [np.zeros((3, 3, 1, 3)), np.zeros(3)]
    )
    assert trainable.frozen_digest(model) != before
