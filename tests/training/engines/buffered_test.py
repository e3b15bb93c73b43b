"""Rounds of a buffer: against NumPy, against FedAvg, and what they tell."""

import types

import numpy as np
import pytest

import tff_cnn
from tests.algorithms import toy
from tests.algorithms.local_rule_test import (
    BATCHING,
    RATE,
    clients,
    parts,
    to_data,
)
from tests.reference import fedbuff as reference
from tests.run_test import config as toy_config
from tff_cnn import runtime
from tff_cnn.aggregators import Quantize, SecureSum
from tff_cnn.algorithms import ALGORITHMS, FedAvg, FedBuff
from tff_cnn.core.errors import UsageError
from tff_cnn.selection.arrivals import Arrivals, Clock
from tff_cnn.training import hooks
from tff_cnn.training.checkpoints import Checkpoints, state_digest
from tff_cnn.training.engines import buffered
from tff_cnn.training.engines.buffered import Buffered
from tff_cnn.training.engines.federated import Federated

__all__ = ["clients", "parts"]  # Fixtures.
SECONDS = (1.0, 2.5, 4.0, 6.0)


@pytest.fixture(scope="module")
def process(parts):
    return ALGORITHMS.build(FedBuff(), parts)


@pytest.fixture(scope="module", autouse=True)
def in_process():
    with runtime.use("in_process", clients_per_step=4) as opened:
        yield opened


def arrivals(buffer_size=2, concurrency=3, seconds=SECONDS, **options):
    return Arrivals(
        4,
        buffer_size,
        concurrency,
        lambda client, number: seconds[client],
        seed=3,
        **options,
    )


def engine_of(process, clients, clock):
    return Buffered(
        process, clock.step, lambda client, number: to_data(clients[client])
    )


def trained(engine, count, state=None, first=1):
    """(results of so many rounds, the weights after each)."""
    results, weights = [], []
    state = engine.initialize() if state is None else state
    for number in range(first, first + count):
        results.append(engine.step(state, engine.plan(number)))
        state = results[-1].state
        weights.append([np.array(w) for w in engine.weights(state)])
    return results, weights


class Beginning(Arrivals):
    """Tells who begins, for a reference that draws nobody."""

    def _starting(self, *given):
        for client in super()._starting(*given):
            self.begun.append(client)
            yield client


def beginning(begun, **options):
    found = arrivals(**options)
    told = Beginning(
        **{name: getattr(found, name) for name in found.__dataclass_fields__}
    )
    object.__setattr__(told, "begun", begun)
    return told


def test_six_steps_equal_numpy(process, parts, clients):
    begun: list[int] = []
    engine = engine_of(process, clients, Clock(beginning(begun)))
    results, found = trained(engine, 6)
    assert runtime.current().schedule.last_size > 1  # Vectorized.
    expected = reference.fedbuff_server(
        list(map(np.float64, parts.model.initial_weights[0])),
        [(c.images / 16, c.labels) for c in clients],
        begun,
        SECONDS,
        buffer_size=2,
        concurrency=3,
        steps=6,
        server_learning_rate=1.0,
        exponent=0.5,
        epochs=BATCHING.epochs,
        batch_size=BATCHING.batch_size,
        learning_rate=RATE,
    )
    for (time, weights), result, own in zip(
        expected, results, found, strict=True
    ):
        assert result.row["simulated_time"] == time
        for a, b in zip(own, weights, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    staleness = [result.row["max_staleness"] for result in results]
    assert max(staleness) >= 2  # It is no FedAvg.


def test_as_many_as_are_waited_for_equally_fast_are_fedavg(
    process, parts, clients
):
    clock = Clock(arrivals(3, 3, (2.0,) * 4))
    engine = engine_of(process, clients, clock)
    results, found = trained(engine, 4)
    cohorts = [clock.step(number).clients for number in range(1, 5)]
    synchronous = Federated(
        ALGORITHMS.build(FedAvg(), parts),
        lambda number: cohorts[number - 1],
        engine.client_data,
    )
    _, expected = trained(synchronous, 4)
    for own, other in zip(found, expected, strict=True):
        for a, b in zip(own, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    assert len({tuple(sorted(cohort)) for cohort in cohorts}) > 1
    rows = [result.row for result in results]
    assert [row["simulated_seconds"] for row in rows] == [2.0] * 4
    assert [row["mean_staleness"] for row in rows] == [0] * 4


def test_a_run_goes_on_with_its_clients_in_flight(process, clients, tmp_path):
    engine = engine_of(process, clients, Clock(arrivals()))
    results, expected = trained(engine, 6)
    assert len({len(result.state.numbers) for result in results}) > 1
    for done in (1, 2, 3, 4):
        checkpoints = Checkpoints(tmp_path / str(done), "print", last_round=6)
        checkpoints.save(done, results[done - 1].state)
        other = engine_of(process, clients, Clock(arrivals()))
        _, state, refused = checkpoints.load_latest(other.initialize())
        assert not refused
        again, found = trained(other, 6 - done, state, done + 1)
        assert again[-1].row == results[-1].row
        assert state_digest(again[-1].state) == state_digest(results[-1].state)
        for a, b in zip(found[-1], expected[-1], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_step_is_pure(process, clients):
    engine = engine_of(process, clients, Clock(arrivals()))
    first = engine.step(engine.initialize(), engine.plan(1)).state
    before = state_digest(first)
    found = [engine.step(first, engine.plan(2)).state for _ in range(2)]
    assert state_digest(first) == before
    assert state_digest(found[0]) == state_digest(found[1])


def test_rows_tell_of_the_clock_and_the_network(process, clients):
    clock = Clock(arrivals(1, 4, max_staleness=1))
    engine = engine_of(process, clients, clock)
    results, _ = trained(engine, 8)
    for number, result in enumerate(results, 1):
        step = clock.step(number)
        row = result.row
        assert row["cohort_size"] == len(step.clients) == 1
        assert row["mean_staleness"] == step.staleness[0]
        assert row["simulated_time"] == step.time
        assert row["updates_dropped"] == step.num_dropped
        # 650 parameters, and the weight of an update.
        assert row["bytes_down"] == step.num_started * 650 * 4
        assert row["bytes_up"] == (1 + step.num_dropped) * 651 * 4
    rows = [result.row for result in results]
    assert sum(row["updates_dropped"] for row in rows) > 0
    assert rows[0]["bytes_down"] == 4 * 650 * 4
    times = [row["simulated_time"] for row in rows]
    np.testing.assert_allclose(
        np.cumsum([row["simulated_seconds"] for row in rows]), times
    )


@pytest.mark.parametrize(
    ("aggregator", "least", "most"),
    [
        # Of 111 numbers in two tensors: two scales and a bit each.
        ("one_bit", 2 * 4 + 14, 2 * 4 + 14),
        (Quantize(quantize_bits=4), 2 * 4 + 30, 2 * 4 + 6 + 56),
    ],
)
def test_bytes_of_codes_are_those_that_arrived(aggregator, least, most):
    config = toy.config(
        algorithm=FedBuff(concurrency=5),
        clients_per_round=2,
        client_speed="pareto",
        aggregator=aggregator,
        rounds=3,
    )
    for row in tff_cnn.train(config).metrics:
        assert row["cohort_size"] == 2
        # Beside each its weight.
        assert 2 * (least + 4) <= row["bytes_up"] <= 2 * (most + 4)


def test_an_update_that_came_too_late_was_sent_too():
    config = toy.config(
        algorithm=FedBuff(concurrency=6, max_staleness=1),
        clients_per_round=1,
        client_speed="pareto",
        client_weighting="uniform",
        aggregator=SecureSum(secure_max_weight=1),
        rounds=6,
    )
    rows = tff_cnn.train(config).metrics
    assert sum(row["updates_dropped"] for row in rows) > 0
    for row in rows:
        # 111 numbers and three beside them, of 5 bytes: 35 bits.
        arrived = 1 + row["updates_dropped"]
        assert row["bytes_up"] == arrived * 114 * 5


def test_clients_draw_as_in_the_round_that_they_began_in(process, clients):
    asked = []

    def client_data(client, number):
        asked.append((client, number))
        return to_data(clients[client])

    clock = Clock(arrivals())
    engine = Buffered(process, clock.step, client_data)
    for number in range(1, 6):
        engine.plan(number)
    steps = [clock.step(number) for number in range(1, 6)]
    assert asked == [
        (client, version + 1)
        for step in steps
        for client, version in zip(step.clients, step.versions, strict=True)
    ]
    assert len({*asked}) == len(asked)


def run_of(process, clients, **options):
    return types.SimpleNamespace(
        config=types.SimpleNamespace(
            algorithm=FedBuff(**options), clients_per_round=2
        ),
        sampler=types.SimpleNamespace(num_clients=4),
        process=process,
        cohort_seed=3,
        client_seconds=lambda client, number: SECONDS[client],
        client_data=lambda client, number: to_data(clients[client]),
    )


def test_it_is_built_of_a_run(process, clients):
    engine = buffered.build(run_of(process, clients, concurrency=3), None)
    clock = Clock(arrivals())
    for number in (1, 2, 1):
        work = engine.plan(number)
        assert work.data.step == clock.step(number)
        assert work.cohort == clock.step(number).clients
    # Twice as many as in a step, if nobody says.
    first = buffered.build(run_of(process, clients), None).plan(1).data.step
    assert first == Clock(arrivals(2, 4)).step(1)
    stale = buffered.build(run_of(process, clients, max_staleness=1), None)
    expected = Clock(arrivals(2, 4, max_staleness=1)).step(7)
    assert stale.plan(7).data.step == expected


def test_more_at_work_than_there_are_clients(process, clients):
    with pytest.raises(UsageError, match=r"concurrency=5 is more than .*, 4:"):
        buffered.build(run_of(process, clients, concurrency=5), None)


@pytest.mark.slow
def test_a_run_that_is_interrupted_goes_on(tmp_path, monkeypatch):
    config = toy_config(
        algorithm=FedBuff(buffer_size=2, concurrency=4),
        clients_per_round=2,
        client_speed=tff_cnn.ParetoSpeed(jitter=0.5),
        rounds=7,
    )
    expected = tff_cnn.train(config)

    def interrupted(self, finished):
        if finished.number == 4:
            raise KeyboardInterrupt
        before(self, finished)

    before = hooks.CostHook.after_round
    monkeypatch.setattr(hooks.CostHook, "after_round", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tff_cnn.train(config, tmp_path / "run")
    monkeypatch.undo()
    found = tff_cnn.train(config, tmp_path / "run")
    digest = expected.summary["weights_sha256"]
    assert found.summary["weights_sha256"] == digest
    clocks = [
        [(row["simulated_time"], row["mean_staleness"]) for row in metrics]
        for metrics in (expected.metrics, found.metrics)
    ]
    assert clocks[0] == clocks[1] and len(clocks[0]) == 7
    assert max(staleness for _, staleness in clocks[0]) > 0
    assert found.summary["simulated_seconds"] == clocks[0][-1][0]
