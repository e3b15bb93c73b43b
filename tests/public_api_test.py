"""What `import tff_cnn` offers, and what that costs."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

import tff_cnn
from tests import processes

_IMPORT = """
import sys
before = set(sys.modules)
import tff_cnn
imported = {name.partition(".")[0] for name in set(sys.modules) - before}
assert imported <= {"tff_cnn"} | sys.stdlib_module_names, imported
assert not hasattr(tff_cnn, "no_such_name")
assert "FixedClip" in dir(tff_cnn)
from tff_cnn import Dirichlet, FixedClip, RunConfig, UsageError, train
config = RunConfig(dp=FixedClip(epsilon=8.0), partition=Dirichlet(alpha=0.3))
config.resolved()
try:
    train(RunConfig(algorithm="fedavgg"))
except UsageError as error:
    print(error)
slow = {"numpy", "tensorflow", "tensorflow_federated", "scipy", "matplotlib"}
slow |= {"dp_accounting", "keras", "pandas"}
assert not slow & set(sys.modules), slow & set(sys.modules)
"""


def test_importing_it_is_cheap_and_mistakes_are_answered_at_once():
    result = processes.run("-c", _IMPORT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(
        "unknown algorithm 'fedavgg': did you mean 'fedavg'?"
    )


def registries():
    found = {name: getattr(tff_cnn, name) for name in tff_cnn.__all__}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, tff_cnn.Registry)
    }


def test_every_choice_of_a_run_has_its_registry_and_options_here():
    fields = dataclasses.fields(tff_cnn.RunConfig)
    choices = [field.metadata["known"] for field in fields]
    choices = [known for known in choices if hasattr(known, "registry")]
    assert len(choices) >= 10
    for known in choices:
        assert known.registry in registries().values()
        for entry in known.registry.entries:
            assert getattr(tff_cnn, entry.options.__name__) is entry.options


def test_all_names_are_there_and_documented():
    assert len(tff_cnn.__all__) == len(set(tff_cnn.__all__))
    for name in ("RunConfig", "Result", "train", "Arrays", "KerasModel"):
        assert name in tff_cnn.__all__
    for name in tff_cnn.__all__:
        found = getattr(tff_cnn, name)
        if isinstance(found, type):
            assert found.__doc__ and not found.__doc__.startswith(f"{name}(")


def test_all_can_be_imported_at_once():
    scope = {}
    exec("from tff_cnn import *", scope)
    assert set(tff_cnn.__all__) <= set(scope)
    assert scope["Result"] is tff_cnn.Result


def test_what_is_not_there_says_so():
    for name in ("NoSuchComponent", "no_such_function", "_private"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(tff_cnn, name)


# Of a notebook, as it stands.
(_CELL,) = re.findall(
    r"^```python\n(import tff_cnn\n.*?)^```",
    (processes.ROOT / "README.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


def test_a_cell_of_a_notebook(digits, capfd):
    def build_model():
        return tf.keras.Sequential(
            [
                tf.keras.layers.Conv2D(4, 3, input_shape=(8, 8, 1)),
                tf.keras.layers.Flatten(),
                tf.keras.layers.Dense(10),
            ]
        )

    assert len(_CELL.strip().splitlines()) <= 10
    scope = {
        "build_model": build_model,
        "x": digits.train.images[..., 0] / 16,
        "y": digits.train.labels.astype(np.int64),
        "xt": digits.test.images[..., 0] / 16,
        "yt": digits.test.labels,
    }
    exec(_CELL, scope)
    result = scope["result"]
    assert len(result.metrics) == 60
    assert result.privacy["epsilon"] == pytest.approx(8, abs=0.01)
    assert result.summary["num_parameters"] == 1490
    logits = result.model.predict(scope["xt"], verbose=0)
    accuracy = np.mean(logits.argmax(axis=1) == scope["yt"])
    assert accuracy == pytest.approx(result.summary["test_accuracy"])
    assert "for each client, against" in capfd.readouterr().out
