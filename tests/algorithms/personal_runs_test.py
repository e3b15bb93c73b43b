"""Whole runs of algorithms with personal models: interrupted, and resumed."""

import functools

import numpy as np
import pytest

import tff_cnn
from tests.run_test import assert_same, config, fail_after, two_layers
from tff_cnn.algorithms import Ditto, FedAvg, FedPer
from tff_cnn.training import assembly
from tff_cnn.training.engines.stateful import Stateful


def run_of(algorithm):
    return config(
        algorithm=algorithm, model=two_layers, eval_every=0, batch_size=50
    )


def train(algorithm, folder=None):
    """(result, what each client has for itself)."""
    last, step = [], Stateful.step

    def recorded(engine, state, work):
        result = step(engine, state, work)
        last[:] = [engine, result.state]
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stateful, "step", recorded)
        result = tff_cnn.train(run_of(algorithm), folder)
    engine, state = last
    found = [engine.personal_weights(state, client) for client in range(6)]
    return result, [np.concatenate([np.ravel(w) for w in f]) for f in found]


@pytest.fixture(scope="module")
def whole():
    """Algorithm -> a run that was not interrupted."""
    return functools.cache(train)


@pytest.mark.parametrize("algorithm", [FedPer(), Ditto()], ids=repr)
def test_what_was_interrupted_ends_as_what_was_not(
    algorithm, tmp_path, monkeypatch, whole
):
    with monkeypatch.context() as patch:
        fail_after(2, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            tff_cnn.train(run_of(algorithm), tmp_path / "run")
    resumed, personal = train(algorithm, tmp_path / "run")
    expected, expected_personal = whole(algorithm)
    assert_same(resumed, expected)
    np.testing.assert_array_equal(personal, expected_personal)
    assert len({w.tobytes() for w in personal}) > 3  # Each client's own.


def test_the_exported_model_of_fedper_is_a_body_with_an_untrained_head(whole):
    result, _ = whole(FedPer())
    assert "the initial head" in repr(result)
    initial = assembly.build_task(run_of(FedPer()).resolved()).model
    moved = [
        np.abs(a - b).max()
        for a, b in zip(
            result.model.get_weights(), initial.get_weights(), strict=True
        )
    ]
    assert min(moved[:2]) > 1e-3 and moved[2:] == [0, 0]


def test_the_exported_model_of_ditto_is_fedavgs_to_the_bit(whole):
    result, _ = whole(Ditto())
    expected = tff_cnn.train(run_of(FedAvg())).model.get_weights()
    for a, b in zip(result.model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(a, b)
