import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.models import functional

K = tf.keras.layers
IMAGES = np.random.default_rng(0).random((64, 4, 4, 1)).astype(np.float32)


def model_with(*layers) -> tf.keras.Model:
    return tf.keras.Sequential([tf.keras.layers.InputLayer((4, 4, 1)), *layers])


@pytest.fixture(scope="module")
def dropout_model():
    return functional.from_keras(
        model_with(
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(50, kernel_initializer="ones"),
            tf.keras.layers.Dropout(0.25),
        )
    )


def test_dropout_is_a_function_of_the_seed(dropout_model):
    weights = dropout_model.initial_weights[0]
    forward = dropout_model.forward
    first = forward(weights, IMAGES, tf.constant([1, 2]))
    np.testing.assert_array_equal(
        first, forward(weights, IMAGES, tf.constant([1, 2]))
    )
    other = forward(weights, IMAGES, tf.constant([1, 3]))
    assert np.mean((np.array(first) == 0) != (np.array(other) == 0)) > 0.2


def test_dropout_keeps_the_mean_and_drops_at_its_rate(dropout_model):
    weights = dropout_model.initial_weights[0]
    dropped = dropout_model.forward(weights, IMAGES, tf.constant([5, 6]))
    kept = dropout_model.predict_on_batch(
        dropout_model.initial_weights, IMAGES, training=False
    )
    share = np.mean(np.array(dropped) == 0)
    assert share == pytest.approx(0.25, abs=0.03)  # 3,200 draws: 4 sigma.
    where = np.array(dropped) != 0
    np.testing.assert_allclose(
        np.array(dropped)[where], np.array(kept)[where] / 0.75, rtol=1e-5
    )


def test_two_dropout_layers_have_masks_of_their_own():
    rate = tf.keras.layers.Dropout
    model = functional.from_keras(
        model_with(
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(400, kernel_initializer="ones"),
            rate(0.5),
            rate(0.5),
        )
    )
    out = model.forward(
        model.initial_weights[0], IMAGES[:4], tf.constant([1, 1])
    )
    # The same mask twice would drop half, independent ones three quarters.
    assert np.mean(np.array(out) == 0) == pytest.approx(0.75, abs=0.05)


def masks(dropout, shape=(4, 4, 5)) -> np.ndarray:
    """Which numbers a dropout layer keeps, of 64 examples."""
    model = functional.from_keras(
        model_with(
            K.Flatten(),
            K.Dense(int(np.prod(shape)), bias_initializer="ones"),
            K.Reshape(shape),
            dropout,
            K.Flatten(),
            K.Dense(int(np.prod(shape)), bias_initializer="zeros"),
        )
    )
    weights = list(model.initial_weights[0])
    weights[0] = np.zeros_like(weights[0])
    weights[2] = np.eye(int(np.prod(shape)), dtype=np.float32)
    out = model.forward(weights, IMAGES, tf.constant([5, 6]))
    kept = np.reshape(out, (64, *shape))
    np.testing.assert_allclose(kept[kept != 0], 2.0)  # Of rate one half.
    return kept != 0


def test_spatial_dropout_drops_whole_channels_of_an_example():
    kept = masks(K.SpatialDropout2D(0.5))
    assert (kept == kept[:, :1, :1]).all()
    assert kept[:, 0, 0].mean() == pytest.approx(0.5, abs=0.12)  # 320: 4 sigma.
    kept = masks(K.SpatialDropout1D(0.5), (16, 5))
    assert (kept == kept[:, :1]).all() and 0.3 < kept.mean() < 0.7


def test_the_noise_shape_of_dropout_is_kept():
    kept = masks(K.Dropout(0.5, noise_shape=(None, 4, 1, 5)))
    assert (kept == kept[:, :, :1]).all()
    assert not (kept == kept[:, :1]).all()
    kept = masks(K.Dropout(0.5, noise_shape=(1, 4, 4, 5)))
    assert (kept == kept[:1]).all() and 0.2 < kept.mean() < 0.8


def test_dropout_in_a_model_within_the_model_is_a_function_of_the_seed():
    inner = [K.InputLayer((4, 4, 5)), K.Dropout(0.5)]
    assert masks(tf.keras.Sequential(inner)).mean() == pytest.approx(
        0.5,
        abs=0.03,  # 5,120 draws: 4 sigma.
    )


def test_a_constant_of_a_lambda_is_kept():
    constant = tf.random.normal([4, 4, 1])
    keras_model = model_with(
        K.Lambda(lambda x: x + constant), K.Flatten(), K.Dense(3)
    )
    model = functional.from_keras(keras_model)
    found = model.forward(model.initial_weights[0], IMAGES, [0, 0])
    np.testing.assert_allclose(found, keras_model(IMAGES), atol=1e-5)


def test_used_by_tff_itself_dropout_draws_anew_each_time(dropout_model):
    weights = dropout_model.initial_weights
    outputs = [
        np.array(dropout_model.predict_on_batch(weights, IMAGES, True))
        for _ in range(2)
    ]
    assert not np.array_equal(*outputs)


def test_gradients_equal_keras():
    keras_model = model_with(
        tf.keras.layers.Conv2D(3, 2, activation="tanh"),
        tf.keras.layers.Flatten(),
        tf.keras.layers.Dense(5),
    )
    model = functional.from_keras(keras_model)
    labels = np.arange(64) % 5
    weights = [tf.constant(w) for w in model.initial_weights[0]]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        logits = model.forward(weights, IMAGES, tf.constant([0, 0]))
        loss = model.loss(logits, labels)
    found = tape.gradient(loss, weights)
    cross_entropy = tf.keras.losses.SparseCategoricalCrossentropy(True)
    with tf.GradientTape() as tape:
        expected_loss = cross_entropy(labels, keras_model(IMAGES))
    expected = tape.gradient(expected_loss, keras_model.trainable_variables)
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-6)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gradients_in_images_are_kerass_with_the_masks_of_training(dtype):
    model = model_with(
        tf.keras.layers.Conv2D(2, 3, activation="softplus"),
        tf.keras.layers.Flatten(),
        tf.keras.layers.Dropout(0.5),
        tf.keras.layers.Dense(3),
    )
    wrapped = functional.from_keras(model, dtype)
    weights = [tf.constant(w) for w in wrapped.initial_weights[0]]
    images, seed = tf.constant(IMAGES[:2]), tf.constant([3, 4], tf.int64)
    forward = wrapped.image_forward()
    with tf.GradientTape() as tape:
        tape.watch((images, weights))
        total = tf.reduce_sum(forward(weights, images, seed))
    found, of_weights = tape.gradient(total, (images, weights))
    assert of_weights == [None] * 4  # Nobody computes them.
    assert float(total) == float(
        tf.reduce_sum(wrapped.forward(weights, images, seed))
    )
    # In a straight line, for the sum is smooth.
    step = 1e-2 * tf.sign(found)
    up, down = (
        tf.reduce_sum(forward(weights, images + s, seed)) for s in (step, -step)
    )
    expected = 2e-2 * tf.reduce_sum(tf.abs(found))
    tolerance = 1e-3 if dtype == "float32" else 0.1
    np.testing.assert_allclose(up - down, expected, rtol=tolerance)


def test_keras_models_stay_usable_after_tff_has_traced_one():
    # TFF's own wrapper leaves Keras' classes in their TF 1 versions.
    keras_model = model_with(
        tf.keras.layers.Flatten(), tf.keras.layers.Dense(2)
    )
    model = functional.from_keras(keras_model)

    @tff.tensorflow.computation(
        tff.TensorType(np.float32, (None, 4, 4, 1)),
    )
    def predict(images):
        weights = [tf.constant(w) for w in model.initial_weights[0]]
        return model.forward(weights, images, tf.constant([0, 0]))

    assert predict.type_signature.result.dtype == np.float32
    assert keras_model.predict(IMAGES, verbose=0).shape == (64, 2)


@pytest.mark.parametrize(
    ("compute_dtype", "accuracy"), [("bfloat16", 3e-2), ("float16", 4e-3)]
)
def test_training_passes_in_fewer_bits_keep_weights_and_gradients_float32(
    compute_dtype, accuracy
):
    tf.keras.utils.set_random_seed(0)
    keras_model = model_with(
        # Smooth: where rounding decides which pixel is the largest, gradients
        # jump.
        tf.keras.layers.Conv2D(4, 3, activation="tanh"),
        tf.keras.layers.Flatten(),
        tf.keras.layers.Dense(3),
    )
    labels = np.arange(64, dtype=np.int32) % 3

    def gradients(dtype):
        model = functional.from_keras(keras_model, dtype)
        weights = [tf.constant(w) for w in model.initial_weights[0]]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits = model.forward(weights, IMAGES, tf.constant([1, 2]))
            loss = model.loss(logits, labels)
        return logits, tape.gradient(loss, weights)

    exact, exact_gradients = gradients("float32")
    logits, found_gradients = gradients(compute_dtype)
    assert logits.dtype == tf.float32
    # Rounded, and so different, but by no more than so many bits explain.
    assert 0 < np.abs(logits - exact).max() < accuracy
    for found, expected in zip(found_gradients, exact_gradients, strict=True):
        assert found.dtype == tf.float32
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            found / scale, expected / scale, atol=3 * accuracy
        )


def test_float16_does_not_lose_small_gradients():
    keras_model = model_with(
        tf.keras.layers.Flatten(),
        tf.keras.layers.Dense(1, kernel_initializer="ones"),
    )

    def gradient(dtype):
        model = functional.from_keras(keras_model, dtype)
        weights = [tf.constant(w) for w in model.initial_weights[0]]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits = model.forward(weights, IMAGES, tf.constant([1, 2]))
            # Below the smallest number that float16 can hold, 6e-8.
            loss = tf.reduce_mean(logits) * 1e-7
        return tape.gradient(loss, weights)[0]

    np.testing.assert_allclose(
        gradient("float16"), gradient("float32"), rtol=0.1
    )
