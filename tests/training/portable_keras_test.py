"""See export_test.py for files that are loaded elsewhere."""

import json
import zipfile

import h5py
import numpy as np
import tensorflow as tf

from tff_cnn.training import portable_keras

K = tf.keras.layers


def test_rebuilding_calls_the_layers_of_models_within_each_time():
    inner_image = K.Input((3,))
    inner = tf.keras.Model(inner_image, K.Dense(3, "tanh")(inner_image))
    image = K.Input((3,))
    twice = inner(K.Dropout(0.5)(inner(image)))
    model = tf.keras.Model(image, K.Concatenate()([twice, image]))
    other = K.Input((3,))
    flat = tf.keras.Model(other, portable_keras.rebuild(model, 2 * other))
    assert not any(isinstance(x, tf.keras.Model) for x in flat.layers)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(flat(x), model(2 * x), rtol=1e-6)


def test_a_file_has_both_names_and_no_inherited_defaults(tmp_path):
    image = K.Input((4, 4, 2))
    x = K.DepthwiseConv2D(2)(K.SpatialDropout2D(0.5)(image))
    model = tf.keras.Model(image, K.Dense(3)(K.Flatten()(x)))
    path = tmp_path / "model.keras"
    portable_keras.save(model, path)
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        with h5py.File(archive.open("model.weights.h5")) as file:
            layers = file["layers"]
            assert layers == file["_layer_checkpoint_dependencies"]
            np.testing.assert_array_equal(
                layers["dense/vars/0"], model.layers[-1].kernel
            )
    assert (config["module"], config["class_name"]) == ("keras", "Model")
    _, dropout, depthwise, _, dense = config["config"]["layers"]
    assert dropout["config"].keys() == {"name", "dtype", "rate"}
    assert "groups" not in depthwise["config"]
    assert dense["config"]["units"] == 3
    # It is read as it was.
    loaded = tf.keras.models.load_model(path)
    ones = np.ones((1, 4, 4, 2), np.float32)
    np.testing.assert_allclose(loaded(ones), model(ones), rtol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]
