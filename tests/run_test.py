"""Training as a function call."""

import contextlib
import dataclasses
import json
import pathlib
import re
import tempfile
import time

import numpy as np
import psutil
import pytest
import tensorflow as tf
import tensorflow_federated as tff

import tff_cnn
from tests import processes
from tff_cnn import RunConfig, run
from tff_cnn.core import paths
from tff_cnn.core.errors import UsageError
from tff_cnn.runtime.in_process import batch_rules
from tff_cnn.training import hooks
from tff_cnn.training.run_folder import RunFolder

K = tf.keras.layers


def stripes(count, seed=0):
    """6x6 images of three classes: which third of the rows is bright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    labels[:3] = range(3)
    images = rng.uniform(0, 0.3, (count, 6, 6))
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 0.7
    return images, labels


X, Y = stripes(90)
TEST = stripes(30, 1)
ARRAYS = tff_cnn.Arrays(X, Y, test=TEST)


def build_model():
    return tf.keras.Sequential(
        [K.InputLayer((6, 6, 1)), K.Flatten(), K.Dense(3)]
    )


def two_layers():
    layers = [K.InputLayer((6, 6, 1)), K.Flatten(), K.Dense(4), K.Dense(3)]
    return tf.keras.Sequential(layers)


def config(**fields):
    return tff_cnn.RunConfig(
        **{
            "dataset": ARRAYS,
            "model": build_model,
            "num_clients": 6,
            "clients_per_round": 3,
            "rounds": 3,
            # Several at once would be compiled twice.
            "runtime": tff_cnn.InProcess(clients_per_step="1"),
            **fields,
        }
    )


PRIVATE = config(dp=tff_cnn.FixedClip(noise_multiplier=1.0))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "kept"


@pytest.fixture(scope="module")
def kept(run_dir):
    """A private run that is kept."""
    return tff_cnn.train(PRIVATE, run_dir)


@pytest.fixture
def fails_to_train(monkeypatch):
    def execute(*arguments):
        raise AssertionError("it trains")

    monkeypatch.setattr(run, "execute", execute)


def weights_of(result):
    return result.model.get_weights()


def assert_same(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.summary["weights_sha256"] == other.summary["weights_sha256"]
    for a, b in zip(one.metrics, other.metrics, strict=True):
        times = {"seconds": 0, "data_wait_seconds": 0}
        assert {**a, **times} == {**b, **times}


def test_a_result_has_all_that_is_asked_of_it(kept, run_dir):
    assert [row["round"] for row in kept.metrics] == [1, 2, 3]
    assert kept.run_dir == str(run_dir)
    assert kept.summary["is_private"] and kept.privacy.is_private
    assert kept.privacy["epsilon"] == kept.metrics[-1]["epsilon"]
    assert kept.privacy["unit"] == "client"
    assert kept.title == "fedavg on arrays, 6 clients"


def test_the_model_takes_images_as_they_were_given(kept):
    images, labels = TEST
    logits = kept.model.predict(images, verbose=0)
    assert logits.shape == (30, 3)
    same = kept.model.predict(images[..., None], verbose=0)
    np.testing.assert_array_equal(logits, same)
    accuracy = np.mean(logits.argmax(axis=1) == labels)
    assert accuracy == pytest.approx(kept.summary["test_accuracy"])
    loss, evaluated = kept.model.evaluate(images, labels, verbose=0)
    assert loss == pytest.approx(kept.summary["test_loss"], rel=1e-5)
    assert evaluated == pytest.approx(accuracy)


@pytest.mark.parametrize("has_rule", [True, False])
def test_a_run_says_once_why_clients_are_trained_alone(
    has_rule, monkeypatch, capfd
):
    if not has_rule:
        monkeypatch.delitem(batch_rules.RULES, "MatMul")
    tff_cnn.train(config(runtime=tff_cnn.InProcess(), rounds=2))
    notes = [
        line
        for line in capfd.readouterr().err.splitlines()
        if "one at a time" in line
    ]
    assert len(notes) == (0 if has_rule else 1)
    if not has_rule:
        assert "there is no rule for MatMul" in notes[0]
        assert "1.5 to 5 times" in notes[0]


def test_a_complete_run_is_read(kept, run_dir, fails_to_train):
    again = tff_cnn.train(PRIVATE, run_dir)
    assert_same(kept, again)
    assert str(again.privacy) == str(kept.privacy)


OTHER_Y = np.where(Y == 2, 1, Y)
OTHER_Y[0] = 2
CHANGES = [
    ({"dataset": tff_cnn.Arrays(X, OTHER_Y, test=TEST)}, "dataset with other"),
    ({"dataset": tff_cnn.Arrays(X, Y, test=(X, Y))}, "dataset with other"),
    ({"model": two_layers}, "model with other content"),
    ({"model": "digits_cnn"}, "model=digits_cnn (was keras)"),
    ({"dataset": "digits"}, "dataset=digits (was arrays)"),
    ({"batch_size": 5}, "batch_size=5 (was 10)"),
    ({"dp": tff_cnn.FixedClip(noise_multiplier=2.0)}, "dp.noise_multiplier=2"),
]


@pytest.mark.parametrize(("fields", "told"), CHANGES)
def test_another_run_is_refused(kept, run_dir, fields, told, fails_to_train):
    changed = dataclasses.replace(PRIVATE, **fields)
    with pytest.raises(tff_cnn.UsageError) as caught:
        tff_cnn.train(changed, run_dir)
    message = str(caught.value)
    assert "holds a run with other settings" in message and told in message
    assert "--" not in message and "\n" not in message


def test_a_folder_in_use_and_a_folder_of_something_else_are_refused(
    tmp_path, fails_to_train
):
    with (
        RunFolder(tmp_path).held(),
        pytest.raises(tff_cnn.UsageError, match="in use by process"),
    ):
        tff_cnn.train(PRIVATE, tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(tff_cnn.UsageError, match="run_dir=.*holds 'notes.txt'"):
        tff_cnn.train(PRIVATE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@contextlib.contextmanager
def nothing_is_left(folder):
    """Whatever the code inside does, where it works and where TFF does."""
    context = tff.framework.get_context_stack().current
    children = psutil.Process().children()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(tempfile, "tempdir", str(folder))
        yield
    assert list(folder.iterdir()) == []
    assert psutil.Process().children() == children
    assert tff.framework.get_context_stack().current is context


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run without privacy that leaves nothing behind."""
    with nothing_is_left(tmp_path_factory.mktemp("empty")):
        return tff_cnn.train(config())


def test_a_run_without_noise_promises_nothing(plain):
    assert plain.run_dir is None
    assert plain.summary["test_accuracy"] > 0.9
    assert not plain.privacy.is_private
    assert str(plain.privacy).startswith("none: the model was trained without")
    assert plain.privacy["epsilon"] is None
    assert "There is no guarantee" in plain.privacy.card


def fail_after(round_num, error, monkeypatch):
    """Raises in a round's hooks, as Ctrl-C and a full disk do."""
    after_round = hooks.ProgressBar.after_round

    def failing(bar, finished):
        after_round(bar, finished)
        if finished.number == round_num:
            raise error

    monkeypatch.setattr(hooks.ProgressBar, "after_round", failing)


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    fail_after(1, OSError("full"), monkeypatch)
    with nothing_is_left(tmp_path), pytest.raises(OSError, match="full"):
        tff_cnn.train(PRIVATE)


def test_a_run_that_was_interrupted_is_continued(
    plain, tmp_path, monkeypatch, capfd
):
    """And knows nothing of other runs, and of what the session has seeded."""
    with monkeypatch.context() as patch:
        fail_after(2, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            tff_cnn.train(config(), tmp_path / "run")
    assert "the same call continues after round 2" in capfd.readouterr().err
    assert not (tmp_path / "run" / ".lock").exists()
    tf.keras.utils.set_random_seed(7)
    assert_same(plain, tff_cnn.train(config(), tmp_path / "run"))


@pytest.mark.parametrize(
    "selection",
    [
        {"sampling": tff_cnn.PowerOfChoice(candidates=5), "dropout_rate": 0.3},
        {"sampling": tff_cnn.Available()},
    ],
    ids=["power of choice, dropout", "available"],
)
def test_who_takes_part_is_the_same_in_a_run_that_was_interrupted(
    selection, tmp_path, monkeypatch
):
    expected = tff_cnn.train(config(**selection), tmp_path / "whole")
    with monkeypatch.context() as patch:
        fail_after(2, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            tff_cnn.train(config(**selection), tmp_path / "run")
    found = tff_cnn.train(config(**selection), tmp_path / "run")
    assert_same(found, expected)


def test_uint8_images_of_three_channels_and_no_test_set():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 5, 6, 3)).astype(np.uint8)
    labels = np.arange(40) % 4
    result = tff_cnn.train(
        config(
            dataset=tff_cnn.Arrays(images, labels),
            evaluate_on="validation",
            model=lambda image_shape, num_classes: tf.keras.Sequential(
                [K.InputLayer(image_shape), K.Flatten(), K.Dense(num_classes)]
            ),
            rounds=1,
        )
    )
    assert result.summary["evaluated_on"] == "validation"
    logits = result.model.predict(images, verbose=0)
    scaled = images.reshape(40, -1) / 255
    kernel, bias = weights_of(result)
    np.testing.assert_allclose(logits, scaled @ kernel + bias, atol=1e-5)


PREPARED = {
    "to_rgb": True,
    "standardize": "data",
    "crop_padding": 1,
    "flip": True,
    "cutout_size": 2,
    "rotation_degrees": 10,
}


def colour_model(image_shape, num_classes):
    assert image_shape == (6, 6, 3)
    return tf.keras.Sequential(
        [K.InputLayer(image_shape), K.Flatten(), K.Dense(num_classes)]
    )


def test_preparation_is_the_models_own_and_augmentation_training_s(
    tmp_path, monkeypatch
):
    """Judged and exported is what was trained on, without what was drawn."""
    prepared = config(model=colour_model, rounds=2, **PREPARED)
    result = tff_cnn.train(prepared, tmp_path / "run")
    images, labels = TEST
    loss, accuracy = result.model.evaluate(images, labels, verbose=0)
    assert loss == pytest.approx(result.summary["test_loss"], rel=1e-5)
    assert accuracy == pytest.approx(result.summary["test_accuracy"])
    kernel, bias = weights_of(result)
    standardized = (images - X.mean()) / X.std()
    rows = np.repeat(standardized[..., None], 3, -1).reshape(30, -1)
    np.testing.assert_allclose(
        result.model.predict(images, verbose=0), rows @ kernel + bias, atol=1e-5
    )
    # The same call reads it, and another preparation is another run.
    monkeypatch.setattr(run, "execute", None)
    assert_same(result, tff_cnn.train(prepared, tmp_path / "run"))
    for field in PREPARED:
        other = {
            **PREPARED,
            field: RunConfig.__dataclass_fields__[field].default,
        }
        changed = config(model=colour_model, rounds=2, **other)
        with pytest.raises(
            tff_cnn.UsageError, match="other settings.*" + field
        ):
            run.continued(changed.resolved(), RunFolder(tmp_path / "run"))


def with_units(units):
    def build():
        layers = [K.InputLayer((6, 6, 1)), K.Flatten(), K.Dense(units)]
        return tf.keras.Sequential(layers, name="mine")

    return build


def softmax():
    return tf.keras.Sequential(
        [K.InputLayer((6, 6, 1)), K.Flatten(), K.Dense(3, "softmax")]
    )


MISTAKES = [
    (dict(num_clients=0), "num_clients=0 must be at least 1"),
    (dict(rounds="many"), "rounds='many' must be an integer, not str"),
    (dict(clients_per_round=7), "clients_per_round=7 is more than num_clients"),
    (dict(dp=tff_cnn.FixedClip()), "neither of dp.noise_multiplier and dp.ep"),
    (dict(dp="tre"), "unknown dp 'tre': did you mean 'tree'?"),
    (dict(dataset=X), "... is no dataset: give a name (digits"),
    (dict(rounds=X), "must be an integer, not ndarray"),
    (dict(algorithm=3), "algorithm=3 is no algorithm"),
    (dict(num_clients=200), "num_clients=200 is more than the 90 training"),
    (
        dict(model=with_units(4)),
        "model 'mine' maps (None, 6, 6, 1) to (None, 4",
    ),
    (dict(model=softmax), "gives numbers between 0 and 1"),
    (dict(standardize="minst"), "'minst': did you mean 'mnist'?"),
    (dict(standardize="1/2/3"), "standardize=1/2/3 must be MEAN/STD"),
    (dict(standardize="0.5/0"), "deviation 0, which must be positive"),
    (dict(standardize=0.5), "standardize=0.5 must be a text, not float"),
    (
        dict(standardize="data", dp=tff_cnn.FixedClip(epsilon=1.0)),
        "standardize=data does not go with dp: mean and standard deviation",
    ),
    (dict(standardize="svhn"), "channels, but images have 1: give one of all"),
    (dict(crop_padding=6), "crop_padding=6 is too large for images of 6x6"),
    (dict(cutout_size=7), "cutout_size=7 is too large for images of 6x6"),
    (dict(crop_padding=-1), "crop_padding=-1 must be at least 0"),
    (dict(rotation_degrees=181), "rotation_degrees=181 must be from 0 to 180"),
    (dict(flip="yes"), "flip='yes' must be True or False, not str"),
    (dict(to_rgb=True), "but the data needs (None, 6, 6, 3) to (None, 3)"),
    (
        dict(model=lambda: colour_model((6, 6, 3), 3)),
        "takes images of three channels, but these are grey: use to_rgb",
    ),
    (
        dict(dataset=tff_cnn.Arrays(X, Y), rounds=1),
        "dataset.test is missing: give Arrays test=(images, labels)",
    ),
    (
        dict(partition=tff_cnn.Shards(shards_per_client=80)),
        "partition.shards_per_client=80 for 6 clients needs 480 shards",
    ),
]


@pytest.mark.parametrize(("fields", "told"), MISTAKES)
def test_mistakes_name_fields(fields, told, tmp_path):
    with (
        nothing_is_left(tmp_path),
        pytest.raises(tff_cnn.UsageError) as caught,
    ):
        tff_cnn.train(config(**fields), tmp_path / "run")
    message = str(caught.value)
    assert told in message
    assert "--" not in message and "\n" not in message


def test_only_a_configuration_is_trained():
    with pytest.raises(tff_cnn.UsageError, match="takes a RunConfig, not dict"):
        tff_cnn.train({"rounds": 3})
    with pytest.raises(tff_cnn.UsageError, match="run_dir=3 must be a path"):
        tff_cnn.train(PRIVATE, 3)


def test_a_damaged_export_is_one_sentence(kept, run_dir, fails_to_train):
    model = pathlib.Path(run_dir) / "export" / "model.keras"
    content = model.read_bytes()
    try:
        model.unlink()
        with pytest.raises(tff_cnn.UsageError, match="cannot be loaded"):
            tff_cnn.train(PRIVATE, run_dir)
        model.write_bytes(content[:100])
        with pytest.raises(tff_cnn.UsageError, match="cannot be loaded"):
            tff_cnn.train(PRIVATE, run_dir)
    finally:
        model.write_bytes(content)


def test_a_folder_that_cannot_be_written_is_one_sentence(monkeypatch):
    def refuse(path, name):
        raise tff_cnn.UsageError(f"{name}={path} cannot be written.")

    monkeypatch.setattr(paths, "check_writable_folder", refuse)
    with pytest.raises(tff_cnn.UsageError, match="run_dir=/nowhere cannot"):
        tff_cnn.train(PRIVATE, "/nowhere")


def test_binaries_read_the_folder(kept, run_dir):
    """An account needs no data; an attack does, and no file holds these."""
    account = processes.call(
        "experiments.privacy", "account", f"--run_dir={run_dir}"
    )
    assert account.returncode == 0, account.stderr
    assert f"the same: epsilon {kept.privacy['epsilon']:.6g}" in account.stdout
    result = processes.call("experiments.audit", f"--run_dir={run_dir}")
    assert result.returncode == 2
    assert "the model of the run in" in result.stderr
    assert "was given in Python, as an object" in result.stderr


_PROGRAM = """
import tff_cnn

config = tff_cnn.RunConfig(rounds=1, num_clients=20, clients_per_round=9)
print(tff_cnn.train(config).privacy)

import numpy as np
import tensorflow_federated as tff

@tff.tensorflow.computation(np.float32)
def double(x):
    return 2 * x

print(double(21.0))
"""


def test_a_program_of_its_own_ends_in_silence_and_alone(tmp_path):
    """TFF is as if it had just been imported, its worker goes with Python."""
    program = processes.start("-c", _PROGRAM, cwd=tmp_path)
    workers = set()
    while program.poll() is None:
        workers |= set(processes.workers_of(program.pid))
        time.sleep(0.1)
    out, err = program.communicate()
    assert program.returncode == 0, err
    *table, promise, number = out.splitlines()
    assert table[0] == "Model digits_cnn, for one example:"
    assert promise.startswith("none: the model was trained without")
    assert number == "42.0"
    lines = [line for line in re.split(r"[\r\n]+", err) if line.strip()]
    assert [x for x in lines if not x.startswith("round ")] == [], err
    assert workers
    processes.wait_until(lambda: not any(map(processes.is_alive, workers)))
    assert list(tmp_path.iterdir()) == []


def one_logit():
    return tf.keras.Sequential(
        [K.InputLayer((6, 6, 1)), K.Flatten(), K.Dense(1)]
    )


def test_two_classes_may_have_one_logit_and_weights(tmp_path):
    is_top, test_is_top = np.int32(Y == 0), np.int32(TEST[1] == 0)
    found = tff_cnn.train(
        config(
            dataset=tff_cnn.Arrays(X, is_top, test=(TEST[0], test_is_top)),
            model=one_logit,
            balance_classes=True,
            client_holdout=0.2,
            client_optimizer=tff_cnn.Sgd(1.0),
            rounds=8,
        ),
        tmp_path / "run",
    )
    last = found.summary
    assert last["test_auc"] == 1.0
    for name in ("f1", "balanced_accuracy"):
        assert 0.8 < last[f"test_{name}"] <= 1.0
    assert 0.8 < last["holdout_accuracy"] <= 1.0
    assert "test auc" in repr(found) and "held out" in repr(found)
    # Of the exported model as well.
    loss, accuracy = found.model.evaluate(TEST[0], test_is_top, verbose=0)
    assert loss == pytest.approx(last["test_loss"], rel=1e-4)
    assert accuracy == pytest.approx(last["test_accuracy"], abs=1e-6)
    described = json.loads((tmp_path / "run/export/model.json").read_text())
    assert described["objective"] == "binary"
    assert described["num_classes"] == 2


def test_raw_class_counts_are_not_for_private_runs():
    private = config(
        dp=tff_cnn.FixedClip(epsilon=1.0),
        balance_classes=True,
        clients_per_round=3,
    )
    with pytest.raises(UsageError, match="dp=fixed_clip does not go with <?ba"):
        private.resolved()
