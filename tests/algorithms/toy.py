"""A toy that algorithms are held to their references on, and runs of it.

Softmax regression on ragged clients of the digits, in batches that are not
shuffled, so that a reference takes the same ones.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

import tff_cnn
from tff_cnn import runtime
from tff_cnn.aggregators import Mean
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms import ALGORITHMS
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.algorithms.rule_process import RuleProcess
from tff_cnn.core.client_states import ClientStates
from tff_cnn.data import SOURCES, preprocessing
from tff_cnn.models import functional
from tff_cnn.training import hooks
from tff_cnn.training.engine import Engine, Work
from tff_cnn.training.engines.federated import Federated
from tff_cnn.training.engines.stateful import Stateful

SGD = tff.learning.optimizers.build_sgdm
SHAPE = (8, 8, 1)
SIZES = (3, 7, 0, 5)
# Of three rounds: not all clients, and one of them without examples.
COHORTS = ((0, 1, 3), (1, 2), (3, 1))
BATCHING = preprocessing.Batching(epochs=2, batch_size=3, shuffle=False)
RATE = 0.1


@functools.cache
def clients():
    """Images scaled as the model takes them, and labels, of each client."""
    train = SOURCES.get("digits")().train
    starts = np.cumsum((0, *SIZES[:-1]))
    return [
        train.take(np.arange(start, start + size))
        for start, size in zip(starts, SIZES, strict=True)
    ]


def in_numpy(cohort):
    """(images, labels) of clients, for a reference."""
    found = [clients()[client] for client in cohort]
    return [(np.float64(c.images) / 16.0, c.labels) for c in found]


@functools.cache
def model() -> tf.keras.Model:
    kernel = tf.keras.initializers.GlorotUniform(3)
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(SHAPE),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(10, kernel_initializer=kernel),
        ]
    )


def initial_weights():
    return [np.float64(w) for w in model().get_weights()]


def engine(options, weighting=Weighting.EXAMPLES, **parts) -> Engine:
    """Of an algorithm's options; `parts` take the place of some of `Parts`."""
    given = {
        "model": functional.from_keras(model()),
        "client_optimizer": SGD(RATE),
        "server_optimizer": SGD(1.0),
        "aggregator": build_aggregator(Mean()),
        "weighting": weighting,
        "element_spec": element_spec(),
        "preprocess": lambda images: preprocessing.scale(images, 16),
        "num_clients": len(SIZES),
    }
    process = ALGORITHMS.build(options, Parts(**{**given, **parts}))
    if isinstance(process, RuleProcess):
        states = ClientStates(process.initial_kept)
        return Stateful(process, lambda number: (), None, states)
    return Federated(process, lambda number: (), None)


def element_spec():
    return preprocessing.element_spec(SHAPE)


def element(client, batching=BATCHING):
    """What a client hands over, but for the sequence that it stands in."""
    found = batching.client_data(clients()[client], np.zeros(2, np.int64))
    return found[0]


def after(engine, cohorts=COHORTS, element=lambda c, number: element(c)):
    """The engine's state after a round of each cohort.

    Args:
      engine: Of `engine`.
      cohorts: Of its rounds.
      element: (client, round) -> its element.
    """
    state = engine.initialize()
    for number, cohort in enumerate(cohorts, 1):
        data = [[element(client, number)] for client in cohort]
        state = engine.step(state, Work(number, cohort, data)).state
    return state


@pytest.fixture
def at_once():
    """In process, where a round's clients are trained together."""
    with runtime.use("in_process", clients_per_step=4):
        yield
        assert runtime.current().schedule.last_size > 1


def assert_close(found, expected, atol=1e-5):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


def config(**fields) -> tff_cnn.RunConfig:
    """A run of four rounds on random images of 6x6, its model a layer."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = rng.uniform(0, 1, (90, 6, 6)) * (1 + labels[:, None, None]) / 3
    return tff_cnn.RunConfig(
        **{
            "dataset": tff_cnn.Arrays(images, labels, test=(images, labels)),
            "model": _one_layer,
            "num_clients": 6,
            "clients_per_round": 3,
            "rounds": 4,
            "batch_size": 4,
            # Several at once would be compiled twice.
            "runtime": tff_cnn.InProcess(clients_per_step="1"),
            **fields,
        }
    )


def _one_layer():
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [layers.InputLayer((6, 6, 1)), layers.Flatten(), layers.Dense(3)]
    )


def rows_of_an_interrupted_run(config, tmp_path, monkeypatch):
    """The rows of a run, which is the same when it was stopped in its middle.

    They lack what no two runs have in common: seconds.
    """
    whole = tff_cnn.train(config)
    plain = hooks.ProgressBar.after_round

    def failing(bar, finished):
        plain(bar, finished)
        if finished.number == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hooks.ProgressBar, "after_round", failing)
        with pytest.raises(KeyboardInterrupt):
            tff_cnn.train(config, tmp_path / "run")
    continued = tff_cnn.train(config, tmp_path / "run")
    for a, b in zip(
        whole.model.get_weights(), continued.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    rows = [_timeless(row) for row in whole.metrics]
    assert rows == [_timeless(row) for row in continued.metrics]
    assert [row["round"] for row in rows] == [1, 2, 3, 4]
    return rows


def _timeless(row):
    return {key: v for key, v in row.items() if "seconds" not in key}
