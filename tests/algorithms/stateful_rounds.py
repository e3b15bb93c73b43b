"""A few rounds of an algorithm whose clients keep values, ours and in NumPy.

The model is softmax regression on digits; its weights are one vector here.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.algorithms.local_rule_test import BATCHING, SIZES
from tests.reference.fedavg import softmax_gradient
from tff_cnn import runtime
from tff_cnn.core.client_states import ClientStates
from tff_cnn.training.engine import Work
from tff_cnn.training.engines.stateful import Stateful

NUM_CLIENTS = len(SIZES)
# All, some, nobody; graphs are compiled for two clients at once.
COHORTS = [[0, 1, 2, 3], [1, 2], [], [3, 1]]
_KERNEL = (64, 10)


@pytest.fixture(scope="module")
def in_process():
    """The runtime of a module's tests."""
    with runtime.use("in_process", clients_per_step=2):
        yield


def vector(weights) -> np.ndarray:
    """All numbers of a structure, one after the other."""
    leaves = [np.ravel(leaf) for leaf in tf.nest.flatten(weights)]
    return np.concatenate(leaves).astype(np.float64)


def gradient(model: np.ndarray, batch) -> np.ndarray:
    """Of the batch's mean loss."""
    kernel, bias = np.split(model, [np.prod(_KERNEL)])
    return vector(softmax_gradient([kernel.reshape(_KERNEL), bias], *batch))


def batches_of(examples) -> list:
    """Those of a client's local steps in a round."""
    size = BATCHING.batch_size
    once = [
        (
            examples.images[start : start + size] / 16,
            examples.labels[start : start + size],
        )
        for start in range(0, len(examples), size)
    ]
    return once * BATCHING.epochs


def trained(process, clients, cohorts=COHORTS):
    """(engine, state after all cohorts), clients vectorized."""
    engine = Stateful(process, None, None, ClientStates(process.initial_kept))
    seed = np.zeros(2, np.int64)
    state = engine.initialize()
    for number, cohort in enumerate(cohorts, 1):
        data = [BATCHING.client_data(clients[c], seed) for c in cohort]
        state = engine.step(state, Work(number, cohort, data)).state
    assert runtime.current().schedule.last_size == 2  # Vectorized.
    return engine, state


def kept(state) -> list[np.ndarray]:
    """What each client keeps."""
    return state.clients.of(range(NUM_CLIENTS))
