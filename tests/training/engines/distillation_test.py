"""The server's part of a round, its batches, and runs that go on."""

import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tff_cnn
from tff_cnn.algorithms import FedDf
from tff_cnn.core.errors import UsageError
from tff_cnn.models import objectives
from tff_cnn.runtime import InProcess
from tff_cnn.training.engines import distillation

CONFIG = tff_cnn.RunConfig(
    algorithm=FedDf(distill_steps=5, distill_batch_size=32),
    num_clients=5,
    clients_per_round=3,
    rounds=2,
    seed=4,
    # One at a time: that several are the same is said by the contract.
    runtime=InProcess(clients_per_step="1"),
)


@given(st.integers(1, 30), st.integers(0, 40), st.integers(1, 50))
def test_batches_are_passes_over_all_examples(examples, steps, batch_size):
    rng = np.random.default_rng(0)
    found = distillation.shuffled_batches(examples, steps, batch_size, rng)
    assert found.shape == (steps, min(batch_size, examples))
    assert found.dtype == np.int32
    flat = found.ravel()
    for start in range(0, len(flat), examples):
        part = flat[start : start + examples]
        assert len(set(part)) == len(part)  # A pass has no example twice.
    counts = np.bincount(flat, minlength=examples)
    assert counts.max() - counts.min() <= 1


def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path):
    whole = tff_cnn.train(CONFIG, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    (tmp_path / "run" / "checkpoints" / "round_000002.npz").unlink()
    found = tff_cnn.train(CONFIG, tmp_path / "run")
    name = "weights_sha256"
    assert found.summary[name] == whole.summary[name]
    for row, other in zip(found.metrics, whole.metrics, strict=True):
        assert row["distill_loss"] == other["distill_loss"] > 0
        # As much as FedAvg's: a model down, an update and its weight up.
        assert row["bytes_up"] == 3 * (5450 * 4 + 4)


@pytest.mark.parametrize("kind", [objectives.Binary, objectives.Labelwise])
def test_without_a_softmax_there_is_nothing_to_distil(kind):
    task = types.SimpleNamespace(objective=kind())
    with pytest.raises(UsageError, match="distils probabilities of classes"):
        distillation.build(types.SimpleNamespace(task=task), None)
