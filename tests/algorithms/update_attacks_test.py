"""Attacks of the test's own, on plain averaging and on SCAFFOLD's updates."""

import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.algorithms.local_rule_test import (
    ControlVariates,
    clients,
    parts,
    to_data,
)
from tff_cnn import runtime
from tff_cnn.algorithms import fedavg, rule_process, update_attacks
from tff_cnn.algorithms.local_rule import LocalRule

__all__ = ["clients", "parts"]  # Fixtures.


@dataclasses.dataclass(frozen=True)
class MeanOfOthers:
    """Attackers send what they know, on average, times ten."""

    sees_all: bool

    def observed(self, update):
        return update

    def sent(self, update, known, count, seed):
        return tf.nest.map_structure(lambda x: 10 * x / count, known)


@dataclasses.dataclass(frozen=True)
class Seeded:
    """Attackers send the second half of their seed."""

    sees_all = False

    def observed(self, update):
        return ()

    def sent(self, update, known, count, seed):
        value = tf.cast(seed[1], tf.float32)
        return tf.nest.map_structure(lambda x: value + 0 * x, update)


def deltas(parts, rule, attack, clients, attackers, seed=0):
    """A round's change of the weights, flat; clients are alike in weight."""
    spec = collections.OrderedDict(
        parts.element_spec, **{update_attacks.FIELD: update_attacks.SPEC}
    )
    if attack is not None:
        parts = dataclasses.replace(parts, element_spec=spec, attack=attack)
    process = fedavg.build_with(parts, rule)
    data = []
    for number, client in enumerate(clients):
        (element,) = to_data(client)
        element["seed"] = np.int64([0, seed])
        if attack is not None:
            flag = np.float32(number in attackers)
            element[update_attacks.FIELD] = flag
        data.append([element])
    if isinstance(process, rule_process.RuleProcess):
        if len(process.initial_kept):
            for (element,) in data:
                element[rule_process.KEPT] = process.initial_kept
        process = process.process
    state = process.initialize()
    before = state.global_model_weights.trainable
    after = process.next(state, data)[0]
    after = getattr(after, "state", after).global_model_weights.trainable
    return np.concatenate(
        [np.ravel(b - a) for a, b in zip(after, before, strict=True)]
    )


@pytest.fixture(scope="module", autouse=True)
def in_process():
    with runtime.use("in_process", clients_per_step=2):
        yield


@pytest.fixture(scope="module")
def honest(parts, clients):
    """What each of two clients sends of itself."""
    pair = [clients[1], clients[3]]
    return [deltas(parts, LocalRule(), None, [c], ()) for c in pair]


@pytest.mark.parametrize("sees_all", [True, False])
@pytest.mark.parametrize("rule", [LocalRule(), ControlVariates(0.1)])
def test_attackers_send_what_they_make_of_what_they_know(
    parts, clients, honest, rule, sees_all
):
    pair = [clients[1], clients[3]]
    found = deltas(parts, rule, MeanOfOthers(sees_all), pair, {1})
    known = np.mean(honest, axis=0) if sees_all else honest[1]
    # In its first round SCAFFOLD's are FedAvg's.
    np.testing.assert_allclose(found, (honest[0] + 10 * known) / 2, atol=1e-5)


def test_where_nobody_attacks_nothing_is_changed(parts, clients, honest):
    pair = [clients[1], clients[3]]
    found = deltas(parts, LocalRule(), MeanOfOthers(False), pair, ())
    np.testing.assert_allclose(found, np.mean(honest, axis=0), atol=1e-6)


def test_an_attacker_has_the_seed_of_its_round(parts, clients):
    found = deltas(parts, LocalRule(), Seeded(), [clients[1]], {0}, seed=7)
    np.testing.assert_allclose(found, 7.0)
