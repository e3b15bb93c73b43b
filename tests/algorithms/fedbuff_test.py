"""FedBuff's rule: what a client in flight has, and what its update counts."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.algorithms.local_rule_test import clients, parts, to_data, train
from tff_cnn.algorithms import ALGORITHMS, FedBuff, local_training
from tff_cnn.algorithms.fedbuff import BufferedRule, InFlight, flattened
from tff_cnn.algorithms.local_rule import Sent
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError

__all__ = ["clients", "parts"]  # Fixtures.


def test_staleness_counts_as_in_the_paper():
    rule = BufferedRule(0.5)
    found = [rule.staleness_weight(tau) for tau in (0, 1, 3, 99)]
    assert found == pytest.approx([1, 2**-0.5, 0.5, 0.1])


@given(exponent=st.floats(0, 100), staleness=st.integers(0, 10**6))
def test_staler_updates_never_count_more(exponent, staleness):
    rule = BufferedRule(exponent)
    found = rule.staleness_weight(staleness)
    assert 0 <= rule.staleness_weight(staleness + 1) <= found <= 1
    assert BufferedRule(0.0).staleness_weight(staleness) == 1


def test_a_client_trains_what_it_began_with(parts, clients):
    rule = BufferedRule(0.5)
    update = local_training.build_client_update(parts, rule)
    sent, _ = parts.model.initial_weights
    began = [w + 0.1 for w in sent]
    output = update(
        Sent(sent),
        InFlight(tuple(began), np.float32(0.5)),
        to_data(clients[1])[0],
    )
    trained, _ = train(began, clients[1], lambda gradient, _: gradient)
    for found, before, after in zip(
        output.result.update, began, trained, strict=True
    ):
        np.testing.assert_allclose(found, 0.5 * (before - after), atol=1e-5)
    assert output.result.update_weight == 1


def test_what_it_began_with_is_one_row(parts):
    weights, _ = parts.model.initial_weights
    row = BufferedRule(0.5).in_flight(flattened(weights), 3)
    assert row.dtype == np.float32 and row.shape == (651,)
    np.testing.assert_array_equal(row[:640], np.ravel(weights[0]))
    assert row[-1] == 0.5
    process = ALGORITHMS.build(FedBuff(), parts)
    assert process.initial_kept.shape == row.shape
    unpacked = tf.nest.flatten(process.rule.initial_kept(weights))
    assert [np.shape(leaf) for leaf in unpacked] == [(64, 10), (10,), ()]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        (
            {"client_weighting": "examples"},
            "client_weighting=examples does not fit algorithm=fedbuff",
        ),
        ({"sampling": "poisson"}, "use sampling=fixed_size"),
        ({"sampling": "full"}, "who begins next is drawn"),
        ({"dp": "fixed_clip"}, "nothing accounts for who takes part"),
        ({"example_dp": "dp_sgd"}, "nothing accounts for who takes part"),
        ({"local_randomizer": "laplace"}, "nothing accounts for who"),
        ({"deadline": 3.0}, "the server waits for no round's clients"),
        ({"over_selection": 1.5}, "leaves none out"),
        (
            {"algorithm": FedBuff(concurrency=101)},
            "algorithm.concurrency=101 is more than the number of clients, 100",
        ),
        (
            {"algorithm": FedBuff(buffer_size=3), "clients_per_round": 4},
            "clients_per_round=4 would be ignored: algorithm.buffer_size=3",
        ),
        (
            {"algorithm": FedBuff(buffer_size=101)},
            "clients_per_round=101 is more than num_clients=100",
        ),
    ],
)
def test_what_does_not_go_with_it(changes, part):
    with pytest.raises(UsageError) as refused:
        RunConfig(**{"algorithm": "fedbuff", **changes}).resolved()
    assert part in str(refused.value)


def test_defaults_follow_from_the_clients():
    config = RunConfig(algorithm=FedBuff(buffer_size=3)).resolved()
    assert config.clients_per_round == 3
    assert config.client_weighting == "uniform"
    assert config.get(config.leaves()["client_speed"]) == "equal"
    config = RunConfig(algorithm="fedbuff", clients_per_round=7).resolved()
    assert config.clients_per_round == 7
    assert FedBuff().clients_at_work(7, 100) == 14
    assert FedBuff().clients_at_work(7, 10) == 10
    assert FedBuff(concurrency=3).clients_at_work(7, 10) == 3
    assert RunConfig().resolved().client_speed is None
