"""Each client of a run by itself, recomputed with NumPy from its files."""

import csv
import dataclasses
import json
import types

import numpy as np
import pytest
import tensorflow as tf

import tff_cnn
from tests.reference.fedavg import softmax_gradient
from tests.training.tensorboard_test import tags
from tff_cnn.core import randomness
from tff_cnn.core.errors import UsageError
from tff_cnn.data.examples import ClientExamples
from tff_cnn.data.preprocessing import Batching
from tff_cnn.training import assembly, client_evaluation, client_table
from tff_cnn.training.client_evaluation import (
    ClientEvaluation,
    ClientEvaluationHook,
)
from tff_cnn.training.diagnostics import NOT_PRIVATE
from tff_cnn.training.loop import Round
from tff_cnn.training.run_folder import RunFolder

RATE = 0.2


def softmax_regression(image_shape, num_classes, seed):
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(image_shape),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(num_classes, kernel_initializer="zeros"),
        ]
    )


def config(**changes):
    return tff_cnn.RunConfig(
        **{
            "model": softmax_regression,
            "partition": "shards",
            "num_clients": 12,
            "clients_per_round": 4,
            "client_optimizer": tff_cnn.Sgd(RATE),
            "rounds": 3,
            "client_holdout": 0.25,
            "runtime": tff_cnn.InProcess(clients_per_step="1"),
            **changes,
        }
    )


TWO_SHARDS = config(
    holdout_clients=0.2, client_eval_every=2, personalize_epochs=2
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "two_shards"


@pytest.fixture(scope="module")
def finished(run_dir):
    return tff_cnn.train(TWO_SHARDS, run_dir)


@pytest.fixture(scope="module")
def task():
    return assembly.build_task(TWO_SHARDS.resolved())


def measured(weights, examples):
    """(accuracy, loss) of softmax regression."""
    logits = examples.images.reshape(len(examples), -1) / 16 @ weights[0]
    logits = (logits + weights[1]).astype(float)
    rows = np.arange(len(examples))
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[rows, examples.labels]
    return np.mean(logits.argmax(axis=1) == examples.labels), losses.mean()


def trained(weights, examples, element):
    """By SGD in the batches that the element says."""
    weights = [np.array(w, float) for w in weights]
    for batch in element["batches"]:
        rows = batch[batch >= 0]
        if len(rows):
            gradients = softmax_gradient(
                weights, examples.images[rows] / 16, examples.labels[rows]
            )
            for w, g in zip(weights, gradients, strict=True):
                w -= RATE * g
    return weights


def rows_of(run_dir):
    with open(run_dir / "clients.csv", newline="") as file:
        return list(csv.DictReader(file))


def element_of(task, client, epochs=2):
    seed = randomness.stateless_seed(
        0, randomness.Purpose.FINE_TUNING, 0, client
    )
    (element,) = Batching(epochs, 10).client_data(task.clients[client], seed)
    return element


def test_every_number_in_the_file_is_what_the_clients_measure(
    finished, run_dir, task
):
    rows = rows_of(run_dir)
    assert [row["set"] for row in rows] == ["holdout"] * 10 + ["unseen"] * 2
    weights = finished.model.get_weights()
    sets = {"holdout": task.held_out, "unseen": task.unseen}
    for row in rows:
        client = int(row["client"])
        examples = sets[row["set"]][client]
        accuracy, loss = measured(weights, examples)
        assert int(row["examples"]) == len(examples)
        assert float(row["accuracy"]) == pytest.approx(accuracy, abs=1e-12)
        assert float(row["loss"]) == pytest.approx(loss, rel=1e-5)
        assert row["round"] == "3"
        if row["set"] == "unseen":
            assert row["tuned_accuracy"] == ""
            continue
        own = trained(weights, task.clients[client], element_of(task, client))
        accuracy, loss = measured(own, examples)
        assert float(row["tuned_accuracy"]) == pytest.approx(accuracy)
        assert float(row["tuned_loss"]) == pytest.approx(loss, rel=1e-4)
        assert row["tuned_after"] == "2 local epochs"


def test_rows_summary_result_and_tensorboard_tell_of_clients(finished, run_dir):
    accuracies = {
        name: [
            float(r["accuracy"]) for r in rows_of(run_dir) if r["set"] == name
        ]
        for name in ("holdout", "unseen")
    }
    first, second, last = finished.metrics
    assert not any(key.startswith("client_") for key in first)
    assert second["client_accuracy_mean"] != last["client_accuracy_mean"]
    mean = np.mean(accuracies["holdout"])
    assert last["client_accuracy_mean"] == pytest.approx(mean)
    assert last["client_accuracy_variance"] == pytest.approx(
        np.var(accuracies["holdout"])
    )
    # Of ten clients one is the worst tenth.
    assert last["client_accuracy_worst_decile"] == min(accuracies["holdout"])
    unseen = np.mean(accuracies["unseen"])
    assert last["client_unseen_accuracy_mean"] == pytest.approx(unseen)
    summary = json.loads((run_dir / "summary.json").read_text())["clients"]
    sets = summary["sets"]
    found = sets["holdout"]["accuracy"]["uniform"]
    assert found["mean"] == last["client_accuracy_mean"]
    assert sets["holdout"]["accuracy"]["weighted"]["mean"] == pytest.approx(
        last["holdout_accuracy"]
    )
    assert sets["holdout"]["tuned_accuracy"]["uniform"]["mean"] > 0.5
    assert summary["privacy"] is None
    assert finished.clients.summary == summary
    assert "after 2 local epochs" in repr(finished)
    found = tags(run_dir / "tensorboard")
    assert (
        found["clients/accuracy"] == found["clients/unseen_accuracy"] == [2, 3]
    )
    assert found["clients/accuracy_mean"] == [2, 3]


def test_a_finished_run_is_evaluated_again(finished, run_dir, task):
    before = rows_of(run_dir)
    table = tff_cnn.evaluate(
        run_dir, TWO_SHARDS, sets="holdout", personalize_steps=3
    )
    rows = rows_of(run_dir)
    assert rows == [
        {name: str(v) for name, v in row.items()} for row in table.rows
    ]
    for row, was in zip(rows, before, strict=False):
        assert (row["accuracy"], row["loss"]) == (was["accuracy"], was["loss"])
        client = int(row["client"])
        element = element_of(task, client, epochs=1)
        element["batches"] = element["batches"][:3]
        own = trained(
            finished.model.get_weights(), task.clients[client], element
        )
        _, loss = measured(own, task.held_out[client])
        assert float(row["tuned_loss"]) == pytest.approx(loss, rel=1e-4)
    content = json.loads((run_dir / "evaluation.json").read_text())
    assert content["local_training"] == "3 local steps"
    assert content == table.summary
    only = tff_cnn.evaluate(run_dir, TWO_SHARDS, sets=["training"])
    assert list(only.sets) == ["training"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"sets": "test"}, "set>?=test is no set"),
        ({"personalize_steps": -1}, "personalize_steps=-1 must be at least 0"),
        (
            {"personalize_steps": 1, "personalize_epochs": 1},
            "both say how long",
        ),
        ({}, "model of the run in .* was given in Python"),
    ],
)
def test_mistakes_are_answered_before_anything_is_built(
    finished, run_dir, arguments, part
):
    with pytest.raises(UsageError, match=part):
        tff_cnn.evaluate(run_dir, **arguments)


def test_without_the_last_checkpoint_it_is_refused(finished, run_dir):
    path = run_dir / "checkpoints" / "round_000003.npz"
    kept = path.rename(run_dir / "kept")
    try:
        with pytest.raises(UsageError, match="no checkpoint of the run's last"):
            tff_cnn.evaluate(run_dir, TWO_SHARDS)
    finally:
        kept.rename(path)


def test_what_was_killed_before_its_end_still_gets_the_table(finished, run_dir):
    """Its rounds are done: no hook sees them any more."""
    for name in ("summary.json", "clients.csv", "clients.png"):
        (run_dir / name).unlink(missing_ok=True)
    tff_cnn.train(TWO_SHARDS, run_dir)
    again = client_table.read(run_dir / "clients.csv")
    assert again.rows == finished.clients.rows
    assert (run_dir / "clients.png").is_file()


PRIVATE = config(
    dp=tff_cnn.FixedClip(noise_multiplier=1.0, delta=1e-2), client_holdout=0.0
)


def test_private_runs_evaluate_clients_only_where_asked_and_say_so(
    tmp_path, capfd
):
    run = types.SimpleNamespace(config=PRIVATE.resolved(), ledger=None)
    assert run.config.evaluate_clients == "no"
    assert client_evaluation.of_run(run, None) is None
    asked = dataclasses.replace(PRIVATE, evaluate_clients="yes")
    found = tff_cnn.train(asked, tmp_path / "asked")
    assert NOT_PRIVATE in capfd.readouterr().err
    assert {row["privacy"] for row in rows_of(tmp_path / "asked")} == {
        NOT_PRIVATE
    }
    # Nothing is held out: it is what was trained on, and says so.
    assert list(found.clients.sets) == ["training"]
    assert "none are held out" in repr(found)
    assert found.summary["clients"]["privacy"] == NOT_PRIVATE
    names = found.summary["not_private_metrics"]["names"]
    assert "client_accuracy_worst_decile" in names
    found = tags(tmp_path / "asked" / "tensorboard")
    assert found[f"{NOT_PRIVATE}/client_accuracy"] == [3]
    assert not any(tag.startswith("clients/accuracy") for tag in found)


class Personal:
    """Client k's own model always says k, the server's 0."""

    def weights(self, state):
        return self.personal_weights(state, 0)

    def personal_weights(self, state, client):
        return [np.zeros((64, 10), "f4"), np.eye(10, dtype="f4")[client]]


class Kinds(Personal):
    """Clients of even and odd numbers have models of two kinds."""

    def __init__(self):
        layers = tf.keras.layers
        self.models = [
            softmax_regression((8, 8, 1), 10, 0),
            tf.keras.Sequential(
                [
                    layers.InputLayer((8, 8, 1)),
                    layers.GlobalAveragePooling2D(),
                    layers.Dense(10),
                ]
            ),
        ]

    def personal_model(self, client):
        return self.models[client % 2]

    def personal_weights(self, state, client):
        _, bias = super().personal_weights(state, client)
        return [np.zeros((1 if client % 2 else 64, 10), "f4"), bias]


def a_run(task, **changes):
    return types.SimpleNamespace(
        task=task,
        ledger=None,
        sampler=types.SimpleNamespace(num_clients=len(task.clients)),
        config=TWO_SHARDS,
        **changes,
    )


def test_a_model_of_its_own_counts_where_a_client_has_one(task):
    evaluate = ClientEvaluation(a_run(task), Personal())
    sets = evaluate(5, None).sets
    assert list(sets["unseen"]) == [""]  # Who never trained has none.
    own = sets["holdout"]["personal_"].accuracy
    expected = [np.mean(task.held_out.labels(c) == c) for c in range(10)]
    np.testing.assert_allclose(own, expected)
    shared = [np.mean(task.held_out.labels(c) == 0) for c in range(10)]
    np.testing.assert_allclose(sets["holdout"][""].accuracy, shared)
    engine = Personal()
    engine.has_personal_models = False
    found = ClientEvaluation(a_run(task), engine)(5, None).sets
    assert list(found["holdout"]) == [""]


def test_models_of_several_kinds_are_each_measured_as_theirs(task):
    found = ClientEvaluation(a_run(task), Kinds())(5, None).sets["holdout"]
    expected = [np.mean(task.held_out.labels(c) == c) for c in range(10)]
    np.testing.assert_allclose(found["personal_"].accuracy, expected)
    sizes = [task.held_out.num_examples(c) for c in range(10)]
    assert found["personal_"].examples.tolist() == sizes
    with pytest.raises(UsageError, match="models of their own kinds"):
        ClientEvaluation(a_run(task), Kinds(), epochs=1)


def test_fine_tuning_begins_with_a_client_s_own_model(task, monkeypatch):
    starts = {}

    def build(run):
        def train(given, data):
            for start, (element,) in zip(given, data, strict=True):
                starts[int(np.argmax(start[1]))] = len(element["batches"])
            return given

        return train

    monkeypatch.setattr(assembly, "build_fine_tuning", build)
    evaluate = ClientEvaluation(a_run(task), Personal(), steps=30)
    table = evaluate.final(5, None)
    assert starts == dict.fromkeys(range(10), 30)
    holdout = table.sets["holdout"]
    np.testing.assert_array_equal(
        holdout["tuned_"].accuracy, holdout["personal_"].accuracy
    )
    assert table.training == "30 local steps"


def test_canaries_are_no_clients_and_an_attack_is_measured_beside(task):
    def to_black(logits_of, images, labels, seed):
        return tf.zeros_like(images)

    audited = types.SimpleNamespace(
        **{
            **vars(task),
            "clients": task.clients.with_empty(7),
            "held_out": None,
            "unseen": None,
        }
    )
    run = a_run(audited)
    run.sampler = types.SimpleNamespace(num_clients=10)
    engine = types.SimpleNamespace(
        weights=lambda state: [np.full((64, 10), 0.1, "f4"), np.zeros(10, "f4")]
    )
    found = ClientEvaluation(run, engine, perturb=to_black).final(1, None).sets
    assert list(found) == ["training"]
    assert list(found["training"]) == ["", "robust_"]
    robust = found["training"]["robust_"]
    np.testing.assert_allclose(robust.loss, np.full(10, np.log(10)), rtol=1e-6)


def test_sets_that_are_not_there_are_refused(task):
    bare = types.SimpleNamespace(**{**vars(task), "held_out": None})
    with pytest.raises(UsageError, match="no set 'holdout'.*client_holdout"):
        ClientEvaluation(a_run(bare), Personal(), ["holdout"])
    with pytest.raises(UsageError, match="judged by examples .* hold out"):
        ClientEvaluation(a_run(bare), Personal(), epochs=1)
    bare.unseen = None
    with pytest.raises(UsageError, match="no set 'unseen'.*holdout_clients"):
        ClientEvaluation(a_run(bare), Personal(), ["unseen"])


@pytest.mark.parametrize(
    ("every", "stops_in", "expected"),
    [(0, None, [5]), (2, None, [2, 4, 5]), (0, 3, [3]), (2, 3, [2, 3])],
)
def test_rounds_are_evaluated_as_often_as_asked(
    tmp_path, every, stops_in, expected
):
    written = []
    table = types.SimpleNamespace(
        row={"client_accuracy_mean": 0.5},
        distributions={"client_accuracy": np.ones(3)},
        write=lambda *paths: written.append(paths),
    )
    hook = ClientEvaluationHook(
        lambda number, state: table, RunFolder(tmp_path), 5, every
    )
    evaluated = []
    for number in range(1, (stops_in or 5) + 1):
        finished = Round(number, None, {}, stop=number == stops_in)
        hook.after_round(finished)
        if finished.row:
            assert finished.distributions["client_accuracy"].shape == (3,)
            evaluated.append(number)
    assert evaluated == expected
    # At the end it is written with all that there is.
    assert len(written) == len(expected) - 1


def test_what_is_not_asked_for_is_not_done():
    never = config(evaluate_clients="no").resolved()
    run = types.SimpleNamespace(config=never, ledger=None)
    assert client_evaluation.of_run(run, None) is None


def test_a_client_without_training_examples_can_be_asked_for_steps(task):
    """It takes none."""
    clients = ClientExamples(task.clients.stored, [np.zeros(0, np.int64)] * 10)
    bare = types.SimpleNamespace(**{**vars(task), "clients": clients})
    evaluate = ClientEvaluation(a_run(bare), Personal(), steps=5)
    (element,) = evaluate._training_data(3)
    assert np.all(element["batches"] < 0)
