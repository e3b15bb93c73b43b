"""Per-example norms and clipped sums equal a loop over single examples."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.algorithms import ghost_norms
from tff_cnn.core.errors import UsageError
from tff_cnn.models import MODELS, functional

SEED = tf.constant([3, 4])


def compare(model, shape, num_examples=3, num_classes=3):
    """Ghost norms and weighted sums against one example at a time."""
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(num_examples, *shape)), tf.float32)
    labels = tf.constant(np.arange(num_examples) % num_classes, tf.int32)
    factors = tf.constant(rng.uniform(size=num_examples), tf.float32)
    wrapped = functional.from_keras(model)
    weights = [
        tf.constant(rng.normal(size=w.shape) * 0.3, tf.float32)
        for w in wrapped.initial_weights[0]
    ]
    taps, forward = wrapped.tapped()

    @tf.function
    def ghost():
        layers, logits = ghost_norms.layer_gradients(
            taps,
            forward,
            lambda logits: wrapped.example_losses(logits, labels),
            weights,
            images,
            SEED,
        )
        sums = {}
        for layer in layers:
            sums.update(layer.weighted_sums(factors))
        norms = tf.add_n([layer.squared_norms() for layer in layers])
        return norms, [sums[i] for i in range(len(weights))], logits

    @tf.function
    def one(image, label):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits = wrapped.forward(weights, image[None], SEED)
            loss = wrapped.loss(output=logits, label=label[None])
        return tape.gradient(loss, weights), logits[0]

    norms, sums, logits = ghost()
    naive = [one(*pair) for pair in zip(images, labels, strict=True)]
    expected = [
        sum(float(tf.reduce_sum(g**2)) for g in gradients)
        for gradients, _ in naive
    ]
    np.testing.assert_allclose(norms, expected, rtol=1e-5, atol=1e-5)
    for index, total in enumerate(sums):
        by_hand = sum(
            factors[n] * gradients[index]
            for n, (gradients, _) in enumerate(naive)
        )
        np.testing.assert_allclose(total, by_hand, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        logits, [example for _, example in naive], rtol=1e-5, atol=1e-5
    )
    return taps


@settings(max_examples=12, deadline=None)
@given(
    size=st.integers(4, 7),
    kernel=st.integers(1, 3),
    strides=st.integers(1, 2),
    dilation=st.integers(1, 2),
    padding=st.sampled_from(["same", "valid"]),
    channels=st.sampled_from([1, 5]),
    filters=st.sampled_from([1, 9]),
    use_bias=st.booleans(),
)
def test_convolutions_of_any_geometry_equal_the_loop(
    size, kernel, strides, dilation, padding, channels, filters, use_bias
):
    if padding == "valid":
        size += (kernel - 1) * dilation
    layers = tf.keras.layers
    # TensorFlow knows no strides together with dilation.
    model = tf.keras.Sequential(
        [
            layers.InputLayer((size, size + 1, channels)),
            layers.Conv2D(
                filters,
                (kernel, max(1, kernel - 1)),
                1 if dilation > 1 else strides,
                padding,
                dilation_rate=dilation,
                activation="tanh",
                use_bias=use_bias,
            ),
            layers.Flatten(),
            layers.Dense(3, use_bias=use_bias),
        ]
    )
    compare(model, (size, size + 1, channels))


def test_both_ways_of_a_layer_are_chosen_by_memory_and_equal_the_loop():
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.InputLayer((8, 8, 1)),
            layers.Conv2D(2, 3, activation="relu"),  # 36 positions, 18 weights
            layers.MaxPool2D(2),
            layers.Conv2D(8, 3, padding="same"),  # 9 positions, 144 weights
            layers.Conv2D(16, 3, padding="same"),  # 9 positions, 1152 weights
            layers.Dense(5, activation="tanh"),  # at each of 9 positions
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    taps = compare(model, (8, 8, 1))
    assert [ghost_norms.is_direct(tap) for tap in taps] == [
        True,
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("name", ["tanh_cnn", "digits_cnn"])
def test_registered_models_equal_the_loop(name):
    shape = (13, 13, 1)
    compare(MODELS.get(name)(shape, 3, 0), shape)


def test_a_model_with_branches_and_dropout_equals_the_loop():
    layers = tf.keras.layers
    image = tf.keras.Input((6, 6, 2))
    left = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    right = layers.Conv2D(4, 1)(image)
    joined = layers.Flatten()(layers.Add()([left, right]))
    # The same mask for all examples, as each of them alone has the same seed.
    dropped = layers.Dropout(0.5, name="drop")(layers.Dense(1)(joined))
    compare(tf.keras.Model(image, layers.Dense(3)(dropped)), (6, 6, 2), 1)


@pytest.mark.parametrize(
    ("layer", "parts"),
    [
        (lambda k: k.LayerNormalization(name="norm"), "LayerNormalization"),
        (lambda k: k.DepthwiseConv2D(3, name="norm"), "DepthwiseConv2D"),
        (lambda k: k.Conv2D(2, 3, groups=2, name="norm"), "groups=2"),
    ],
)
def test_a_layer_that_is_not_covered_is_refused_by_name(layer, parts):
    k = tf.keras.layers
    model = tf.keras.Sequential(
        [k.InputLayer((8, 8, 2)), layer(k), k.Flatten(), k.Dense(3)]
    )
    wrapped = functional.from_keras(model)  # Fine without --local_dp.
    with pytest.raises(UsageError, match=f"{parts}.*--local_dp=none") as error:
        wrapped.tapped()
    assert "'norm'" in str(error.value)


def test_a_layer_that_is_used_twice_is_refused():
    k = tf.keras.layers
    image = tf.keras.Input((4, 4, 1))
    twice = k.Dense(16, name="twice")
    model = tf.keras.Model(image, twice(twice(k.Flatten()(image))))
    with pytest.raises(UsageError, match="'twice' is used 2 times"):
        functional.from_keras(model).tapped()
