import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.algorithms import toy
from tff_cnn.algorithms import (
    OPTIMIZERS,
    Constant,
    Cosine,
    Exponential,
    Sgd,
)
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.training import learning_rates

RATES = {
    "client_optimizer": Sgd(0.5),
    "client_schedule": Cosine(final_factor=0.5),
    "server_optimizer": Sgd(1.0, 0.9),
    "server_schedule": Constant(warmup_rounds=1),
}


def test_without_a_schedule_nothing_is_other_than_it_was():
    config = RunConfig().resolved()
    assert learning_rates.row(config, 3) == {}
    state = learning_rates.server_optimizer(config).initialize(())
    assert list(state) == ["learning_rate"]


class Rateless(tff.learning.optimizers.Optimizer):
    """Has no learning rate."""

    def initialize(self, specs):
        return collections.OrderedDict()

    def next(self, state, weights, gradients):
        return state, weights


def test_a_schedule_of_no_rate_is_refused(monkeypatch):
    monkeypatch.setattr(OPTIMIZERS, "build", lambda options: Rateless())
    config = RunConfig(server_schedule=Cosine()).resolved()
    assert learning_rates.optimizer(config, "client") is not None
    with pytest.raises(UsageError, match="server_schedule.* no learning"):
        learning_rates.server_optimizer(config)


def test_a_run_goes_on_with_its_rates(tmp_path, monkeypatch):
    config = toy.config(**RATES)
    rows = toy.rows_of_an_interrupted_run(config, tmp_path, monkeypatch)
    fall = [1, (2 + 2**0.5) / 4, 1 / 2, (2 - 2**0.5) / 4]
    for row, factor in zip(rows, fall, strict=True):
        assert row["client_learning_rate"] == pytest.approx(
            0.5 * (0.5 + 0.5 * factor)
        )
    assert [r["server_learning_rate"] for r in rows] == [0.5, 1, 1, 1]


def test_more_rounds_go_on_as_if_there_had_been_more():
    """After the last of two rounds the state has the rate of the third."""
    states = []
    for rounds in (2, 4):
        config = RunConfig(server_schedule=Exponential(0, 0.5), rounds=rounds)
        built = learning_rates.server_optimizer(config.resolved())
        state = built.initialize(tf.TensorSpec([1]))
        for _ in range(2):
            state, _ = built.next(state, tf.zeros(1), tf.ones(1))
        states.append(state)
    few, many = states
    assert few["optimizer"]["learning_rate"].numpy() == np.float32(0.25)
    tf.nest.map_structure(np.testing.assert_array_equal, few, many)
