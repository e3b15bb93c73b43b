"""The export is loaded in a fresh process that must not find TFF or us."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tff_cnn.models import MODELS
from tff_cnn.training import export

_STRANGER = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in ("tensorflow_federated", "tff_cnn", "experiments"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refuse())
import json
import numpy as np
import tensorflow as tf

folder, images = sys.argv[1], np.load(sys.argv[2])
results = [
    tf.keras.models.load_model(f"{folder}/{name}").predict(images, verbose=0)
    for name in ("model.keras", "saved_model")
]
served = tf.saved_model.load(f"{folder}/saved_model").signatures
results.append(
    next(iter(served["serving_default"](
        image=tf.constant(images, tf.float32)).values())).numpy()
)
print(json.dumps([r.tolist() for r in results]))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "export"
    model = MODELS.get("emnist_cnn")((28, 28, 1), 10, 0)
    weights = MODELS.get("emnist_cnn")((28, 28, 1), 10, 1).get_weights()
    export.export(folder, model, weights, 255, "No privacy at all.", "# Card")
    model.set_weights(weights)
    return folder, model


def test_predicts_the_same_in_a_process_without_tff(exported, tmp_path):
    folder, model = exported
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1))
    images = images.astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    output = subprocess.run(
        [sys.executable, "-c", _STRANGER, folder, tmp_path / "images.npy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    expected = model(images / np.float32(255), training=False)
    for found in json.loads(output.strip().splitlines()[-1]):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_says_what_goes_in_and_out(exported):
    folder, _ = exported
    description = json.loads((folder / "model.json").read_text())
    assert description["input_shape"] == [28, 28, 1]
    assert description["pixel_range"] == [0, 255]
    assert description["num_classes"] == 10
    readme = (folder / "README.md").read_text()
    assert (folder / "PRIVACY.md").read_text() == "# Card"
    assert "No privacy at all." in readme and "28, 28, 1" in readme


def test_replaces_an_older_export_whole(exported, tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "stale").write_text("old")
    model = MODELS.get("digits_cnn")((8, 8, 1), 10, 0)
    export.export(folder, model, model.get_weights(), 16, "", "")
    assert sorted(p.name for p in folder.iterdir()) == [
        "PRIVACY.md",
        "README.md",
        "model.json",
        "model.keras",
        "saved_model",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["export"]
