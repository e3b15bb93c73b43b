"""Every attack, on a round of toy updates: what holds of all of them.

Whatever is registered is tested here, unasked, with its default options.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn import runtime
from tff_cnn.algorithms import update_attacks
from tff_cnn.algorithms.update_attacks import Sending
from tff_cnn.core import registry
from tff_cnn.core.update_attacks import Attacker
from tff_cnn.data.examples import Examples
from tff_cnn.data.preprocessing import Batching
from tff_cnn.evaluation.attacks import ATTACKS

CLASSES, SHAPE, WHITE = 4, (5, 5, 1), 16
KNOWN = {
    "num_classes": CLASSES,
    "image_shape": SHAPE,
    "pixel_max": WHITE,
    "server_rate": 1.0,
}
UPDATE = ((np.float32, [3, 2]), (np.float32, [2]))
NUM_CLIENTS = 4


@functools.cache
def build(name):
    entry = ATTACKS.find(name)
    asked = registry.asked_for(entry.load(), KNOWN)
    return ATTACKS.builder(entry.options())(**asked)


@functools.cache
def process(name):
    """What clients send: a TFF computation of a round's (sending, attacker)."""
    sending = tff.to_type(
        Sending(UPDATE, np.float32, np.int32, np.float32, np.int64)
    )
    attacker = tff.to_type(Attacker(np.float32, (np.int64, [2]), np.float32))
    next_fn = update_attacks.federated(build(name).update, sending, attacker)

    @tff.federated_computation(
        tff.FederatedType(sending, tff.CLIENTS),
        tff.FederatedType(attacker, tff.CLIENTS),
    )
    def sent(trained, attackers):
        return next_fn(trained, attackers)

    return sent


@pytest.fixture(scope="module")
def all_at_once():
    with runtime.use("in_process", clients_per_step=NUM_CLIENTS):
        yield


def trained(weights=(1.0,) * NUM_CLIENTS):
    rng = np.random.default_rng(0)
    return [
        Sending(
            (
                ((weight > 0) * rng.normal(size=(3, 2))).astype(np.float32),
                ((weight > 0) * rng.normal(size=2)).astype(np.float32),
            ),
            weight,
            int(weight == 0),
            float(weight > 0),
            7,
        )
        for weight in weights
    ]


def sent(name, sendings, attackers):
    who = [
        Attacker(float(i in attackers), np.array([i, 9], np.int64), 2.0)
        for i in range(len(sendings))
    ]
    return process(name)(sendings, who)


def flat(sending):
    return np.concatenate([np.ravel(x) for x in tf.nest.flatten(sending)])


ON_UPDATES = [name for name in ATTACKS if build(name).update is not None]


@pytest.mark.parametrize("name", ON_UPDATES)
def test_a_round_is_attacked(name, all_at_once, capfd):
    before = trained()
    # Nobody attacks; all do; and some.
    for attackers in ((), (0, 1, 2, 3), (1, 3)):
        found = sent(name, before, attackers)
        for i, (one, honest) in enumerate(zip(found, before, strict=True)):
            assert np.isfinite(flat(one)).all()
            assert (one.weight, one.is_excluded, one.counts) == (1, 0, 1)
            if i not in attackers:
                np.testing.assert_allclose(flat(one), flat(honest), rtol=1e-6)
    changed = [
        not np.allclose(flat(one), flat(honest))
        for one, honest in zip(found, before, strict=True)
    ]
    assert changed == [False, True, False, True]
    # All at once: none is an operation that has no rule.
    assert "one at a time" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", ON_UPDATES)
def test_who_does_not_count_sends_nothing(name, all_at_once):
    before = trained((1.0, 0.0, 2.0, 0.0))
    found = sent(name, before, (0, 1))
    for i in (1, 3):
        np.testing.assert_array_equal(flat(found[i]), flat(before[i]))
    # As if these were not there.
    alone = sent(name, [before[0], before[2]], (0,))
    np.testing.assert_allclose(flat(found[0]), flat(alone[0]), atol=1e-6)


@pytest.mark.parametrize("name", ATTACKS)
def test_poison_is_seeded_and_leaves_what_it_was_given(name):
    attack = build(name)
    if attack.poison is None:
        pytest.skip("it is on updates alone")
    rng = np.random.default_rng(1)
    examples = Examples(
        rng.integers(0, 9, (7, *SHAPE)).astype(np.uint8),
        rng.integers(0, CLASSES, 7).astype(np.int32),
    )
    (element,) = Batching(2, 3).client_data(examples, np.zeros(2, np.int64))
    before = {name: value.copy() for name, value in element.items()}
    seed = np.array([5, -1], np.int64)
    found, again = (attack.poison(element, seed) for _ in range(2))
    assert list(found) == list(before)
    for key, value in before.items():
        np.testing.assert_array_equal(element[key], value)
        np.testing.assert_array_equal(found[key], again[key])
        assert found[key].dtype == value.dtype
        assert found[key].shape == value.shape
