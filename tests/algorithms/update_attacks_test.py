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
from tff_cnn.aggregators.codecs import Codecs
from tff_cnn.aggregators.compression import rice
from tff_cnn.aggregators.compression.top_k import TopK
from tff_cnn.algorithms import fedavg, rule_process, update_attacks
from tff_cnn.algorithms.local_rule import LocalRule
from tff_cnn.algorithms.local_training import Weighting

__all__ = ["clients", "parts"]  # Fixtures.


@dataclasses.dataclass(frozen=True)
class MeanOfKnown:
    """Attackers send what they know, on average, times ten."""

    sees_honest: bool

    def observed(self, update):
        return update

    def sent(self, update, known, attacker):
        count = tf.maximum(known.count, 1.0)
        return tf.nest.map_structure(lambda x: 10 * x / count, known.total)


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Attackers send one of the numbers that they know."""

    number: str
    sees_honest = False

    def observed(self, update):
        return ()

    def sent(self, update, known, attacker):
        value = {
            **known._asdict(),
            "seed": attacker.seed[1],
            "round_num": attacker.round_num,
        }[self.number]
        value = tf.cast(value, tf.float32)
        return tf.nest.map_structure(lambda x: value + 0 * x, update)


class Result(collections.namedtuple("Result", "delta num_excluded bytes_up")):
    """Of a round: the change of the weights, flat, who was excluded, bytes."""


def next_round(parts, rule, attack, clients, attackers, seed=0) -> Result:
    """A round; clients are alike in weight unless `parts` say otherwise."""
    spec = collections.OrderedDict(parts.element_spec, **update_attacks.SPECS)
    if attack is not None:
        parts = dataclasses.replace(parts, element_spec=spec, attack=attack)
    process = fedavg.build_with(parts, rule)
    data = []
    for number, client in enumerate(clients):
        (element,) = to_data(client)
        if attack is not None:
            element |= update_attacks.fields(
                number in attackers, np.int64([0, seed]), 3
            )
        data.append([element])
    if isinstance(process, rule_process.RuleProcess):
        if len(process.initial_kept):
            for (element,) in data:
                element[rule_process.KEPT] = process.initial_kept
        process = process.process
    state = process.initialize()
    before = state.global_model_weights.trainable
    output = process.next(state, data)
    metrics = output[-1]
    after = output[0].global_model_weights.trainable
    delta = [np.ravel(b - a) for a, b in zip(after, before, strict=True)]
    work = metrics["client_work"]
    excluded = int(work["num_nonfinite_clients"])
    return Result(np.concatenate(delta), excluded, work.get("bytes_up"))


def deltas(*arguments, **options):
    return next_round(*arguments, **options).delta


@pytest.fixture(scope="module", autouse=True)
def in_process():
    with runtime.use("in_process", clients_per_step=2):
        yield


@pytest.fixture(scope="module")
def trio(clients):
    return [clients[1], clients[3], clients[0]]


@pytest.fixture(scope="module")
def honest(parts, trio):
    """What each of three clients sends of itself."""
    return [deltas(parts, LocalRule(), None, [c], ()) for c in trio]


@pytest.mark.parametrize("sees_honest", [True, False])
@pytest.mark.parametrize("rule", [LocalRule(), ControlVariates(0.1)])
def test_attackers_send_what_they_make_of_what_they_know(
    parts, trio, honest, rule, sees_honest
):
    found = deltas(parts, rule, MeanOfKnown(sees_honest), trio, {1, 2})
    known = honest[0] if sees_honest else (honest[1] + honest[2]) / 2
    # In its first round SCAFFOLD's are FedAvg's.
    np.testing.assert_allclose(found, (honest[0] + 20 * known) / 3, atol=1e-5)


def test_behind_error_feedback_attackers_send_codes_as_all_do(parts, trio):
    """Or the server would have what no code says."""
    parts = dataclasses.replace(parts, feedback=Codecs([TopK(0.1)]))
    found = next_round(
        parts, LocalRule(), Numbers("round_num"), trio, {0, 1, 2}
    )
    # The first tenth of equal numbers.
    expected = np.zeros(650)
    expected[:65] = 3
    np.testing.assert_allclose(found.delta, expected, atol=1e-6)
    # 65 numbers, their places, which have no gaps, and a weight.
    assert found.bytes_up / 3 <= 65 * 4 + 4 + sum(rice.index_bytes(65, 650))
    # Places in a row take fewer bytes than those of what was trained.
    others = next_round(parts, LocalRule(), None, trio, ())
    assert found.bytes_up < others.bytes_up


def test_where_nobody_attacks_nothing_is_changed(parts, trio, honest):
    found = deltas(parts, LocalRule(), MeanOfKnown(False), trio, ())
    np.testing.assert_allclose(found, np.mean(honest, axis=0), atol=1e-6)


def test_where_nobody_is_honest_nothing_of_them_is_known(parts, trio):
    found = deltas(parts, LocalRule(), MeanOfKnown(True), trio, {0, 1, 2})
    np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("count", 2),
        ("num_clients", 3),
        ("num_attackers", 2),
        # Of 5 and 3 examples, and 7.
        ("share", 8 / 15),
        ("seed", 7),
        ("round_num", 3),
    ],
)
def test_what_attackers_know(parts, trio, number, expected):
    parts = dataclasses.replace(parts, weighting=Weighting.EXAMPLES)
    found = deltas(parts, LocalRule(), Numbers(number), trio, {1, 2}, seed=7)
    alone = deltas(parts, LocalRule(), None, [trio[0]], ())
    np.testing.assert_allclose(
        found, (7 * alone + 8 * expected) / 15, atol=1e-5
    )


def test_who_does_not_count_is_not_known(parts, trio, clients):
    """A client without examples weighs nothing, attacker or not."""
    parts = dataclasses.replace(parts, weighting=Weighting.EXAMPLES)
    empty = clients[2]
    found = deltas(
        parts, LocalRule(), Numbers("num_clients"), [empty, *trio], {0, 1}
    )
    others = deltas(parts, LocalRule(), None, trio[1:], ())
    np.testing.assert_allclose(found, (7 * 3 + 8 * others) / 15, atol=1e-5)


@dataclasses.dataclass(frozen=True)
class Times:
    """Attackers send a multiple of their update."""

    factor: float
    sees_honest = False

    def observed(self, update):
        return ()

    def sent(self, update, known, attacker):
        return tf.nest.map_structure(lambda x: self.factor * x, update)


@pytest.mark.parametrize("factor", [np.inf, np.nan, 1e30])
@pytest.mark.parametrize("rule", [LocalRule(), ControlVariates(0.1)])
def test_what_is_not_finite_is_excluded_as_anybodys(
    parts, trio, honest, rule, factor
):
    found = next_round(parts, rule, Times(factor), trio, {0})
    assert found.num_excluded == 1
    expected = (honest[1] + honest[2]) / 2
    np.testing.assert_allclose(found.delta, expected, atol=1e-6)
