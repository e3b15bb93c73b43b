"""FedAvg and SCAFFOLD whose clients are sent codes of the model."""

import dataclasses

import numpy as np
import pytest

import tff_cnn
from tests.algorithms.local_rule_test import (
    ControlVariates,
    clients,
    parts,
    to_data,
)
from tests.run_test import assert_same, config, fail_after
from tff_cnn import runtime
from tff_cnn.aggregators.codecs import Codecs
from tff_cnn.aggregators.downlink_codecs import build_int8, build_prune
from tff_cnn.algorithms import fedavg, rule_process
from tff_cnn.algorithms.local_rule import LocalRule
from tff_cnn.core.errors import UsageError

__all__ = ["clients", "parts"]  # Fixtures.
CODES = {
    "prune": Codecs([build_prune(0.9)]),
    "int8": Codecs([build_int8()]),
    "prune+int8": Codecs([build_prune(0.9), build_int8()]),
}


@pytest.fixture(scope="module", autouse=True)
def in_process():
    with runtime.use("in_process", clients_per_step=2):
        yield


def one_round(parts, rule, data):
    """(weights before, after, metrics)."""
    process = fedavg.build_with(parts, rule)
    if isinstance(process, rule_process.RuleProcess):
        if len(process.initial_kept):
            kept = {rule_process.KEPT: process.initial_kept}
            data = [[{**element, **kept} for element in one] for one in data]
        process = process.process
    state = process.initialize()
    output = process.next(state, data)
    after, metrics = output[0], output[-1]
    if hasattr(output, "state"):
        after, metrics = output.state, output.metrics
    return (
        state.global_model_weights.trainable,
        after.global_model_weights.trainable,
        metrics,
    )


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize(
    "rule", [LocalRule(), ControlVariates(0.1)], ids=["plain", "with states"]
)
def test_clients_train_from_the_code_and_the_server_from_its_own(
    parts, clients, name, rule
):
    data = [to_data(clients[client]) for client in (1, 3)]
    coded = dataclasses.replace(parts, downlink=CODES[name])
    before, after, metrics = one_round(coded, rule, data)
    # What a run would do that began where clients do.
    start, _ = CODES[name].transmitted(
        [np.float32(w) for w in before], _no_seeds()
    )
    start = [w.numpy() for w in start]
    assert any(np.any(a != b) for a, b in zip(start, before, strict=True))
    model = _Moved(parts.model, start)
    moved = dataclasses.replace(parts, model=model)
    first, last, _ = one_round(moved, rule, data)
    for w, found, a, b in zip(before, after, first, last, strict=True):
        np.testing.assert_allclose(found - w, b - a, atol=1e-6)
    size = int(metrics["distributor"]["bytes_down"])
    assert 0 < size < 4 * sum(np.size(w) for w in before)


def _no_seeds():
    import tensorflow as tf

    from tff_cnn.aggregators.codecs import Seeds

    nothing = tf.zeros([2], tf.int64)
    return Seeds(nothing, nothing)


class _Moved:
    """A model that begins elsewhere."""

    def __init__(self, model, trainable):
        self._model = model
        _, whole = model.initial_weights
        self.initial_weights = (tuple(trainable), whole)

    def __getattr__(self, name):
        return getattr(self._model, name)


def test_a_run_s_rows_have_the_bytes_and_it_resumes(tmp_path, monkeypatch):
    given = config(downlink="prune+int8")
    whole = tff_cnn.train(given, tmp_path / "whole")
    plain = tff_cnn.train(config())
    for row, other in zip(whole.metrics, plain.metrics, strict=True):
        assert row["bytes_down"] < other["bytes_down"] / 4
        assert row["bytes_up"] == other["bytes_up"]
    with monkeypatch.context() as patch:
        fail_after(2, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            tff_cnn.train(given, tmp_path / "run")
    assert_same(tff_cnn.train(given, tmp_path / "run"), whole)


def test_candidates_are_asked_of_the_model_as_it_is():
    with pytest.raises(UsageError, match="asks candidates for their losses"):
        tff_cnn.train(config(downlink="int8", sampling="power_of_choice"))
