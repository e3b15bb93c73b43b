import json
import zlib

import numpy as np
import pytest
import tensorflow as tf

import tff_cnn
from tests.run_test import TEST, config
from tff_cnn.core.errors import UsageError
from tff_cnn.training import assembly, shrinking

WEIGHTS = [
    np.float32([[1, -4], [3, 0.5]]),
    np.float32([9, 0.1]),  # A bias: it stays.
    np.float32([[[-2, 5]]]),
]


def test_the_smallest_weights_of_all_kernels_are_zero():
    first, bias, second = shrinking.pruned(WEIGHTS, 0.5)
    np.testing.assert_array_equal(first, [[0, -4], [3, 0]])
    np.testing.assert_array_equal(bias, WEIGHTS[1])
    np.testing.assert_array_equal(second, [[[0, 5]]])
    for sparsity in (0.0, 0.1):  # Less than one of six.
        for found, before in zip(
            shrinking.pruned(WEIGHTS, sparsity), WEIGHTS, strict=True
        ):
            np.testing.assert_array_equal(found, before)
    assert shrinking.pruned(WEIGHTS[1:2], 0.9)[0] is WEIGHTS[1]


def test_weights_of_one_size_are_not_told_apart():
    (found,) = shrinking.pruned([np.float32([[1, 1], [1, 2]])], 0.5)
    np.testing.assert_array_equal(found, [[1, 1], [1, 2]])


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("shrunk") / "run"
    tff_cnn.train(config(), path)
    return path


def test_a_finished_run_is_shrunk(run_dir):
    found = tff_cnn.shrink(run_dir, config(), sparsities=[0, 0.5])
    names = [
        "model-float32.tflite",
        "model-int8.tflite",
        "model-float32-sparse0.5.tflite",
        "model-int8-sparse0.5.tflite",
    ]
    assert [model.file_name for model in found.models] == names
    whole, *_ = found.models
    summary = json.loads((run_dir / "summary.json").read_text())
    assert whole.accuracy == pytest.approx(summary["test_accuracy"], abs=0.01)
    content = (run_dir / "export" / names[0]).read_bytes()
    assert content == whole.content and whole.num_bytes == len(content)
    assert whole.num_zipped_bytes == len(zlib.compress(content, 9))
    written = json.loads((run_dir / "shrunk.json").read_text())
    assert written == found.figures
    assert written["weights_bytes"] == 4 * (36 * 3 + 3)
    for name in names:
        assert name in repr(found)


def test_tflite_computes_what_keras_computes(run_dir):
    model = tff_cnn.train(config(), run_dir).model  # It is complete: read.
    predict = shrinking._interpreter(shrinking.to_tflite(model, "float32"))
    images = np.float32(TEST[0])[..., None]
    np.testing.assert_allclose(
        predict(images), model.predict(images, verbose=0), atol=1e-4
    )


def test_kernels_of_eight_bits_take_a_quarter():
    model = tf.keras.Sequential(
        [tf.keras.layers.InputLayer((64,)), tf.keras.layers.Dense(256)]
    )
    sizes = [
        len(shrinking.to_tflite(model, name)) for name in ("float32", "int8")
    ]
    assert sizes[0] - sizes[1] == pytest.approx(3 * 64 * 256, rel=0.1)


def test_the_model_is_left_as_it_was(run_dir):
    model = tff_cnn.train(config(), run_dir).model
    before = model.get_weights()
    task = assembly.build_task(config().resolved())
    shrinking.shrink(model, "float32", 0.9, task.evaluation, task.objective)
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": "int4"}, "unknown formats 'int4': .*valid are float32"),
        ({"sparsities": 1.0}, "sparsities=1.0 must be from 0 to below 1"),
        ({"sparsities": [0.2, -1]}, "sparsities=-1 must be"),
    ],
)
def test_mistakes(run_dir, arguments, message):
    with pytest.raises(UsageError, match=message):
        tff_cnn.shrink(run_dir, config(), **arguments)


def test_what_tflite_cannot_hold_is_said():
    def spectrum(images):
        return tf.signal.fft2d(tf.cast(images, tf.complex64))

    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((8, 8, 1)),
            tf.keras.layers.Lambda(spectrum),
        ]
    )
    with pytest.raises(UsageError, match="TFLite cannot hold this model"):
        shrinking.to_tflite(model, "float32")


def test_no_run_is_no_folder(tmp_path):
    with pytest.raises(UsageError, match="holds no config.json"):
        tff_cnn.shrink(tmp_path)
