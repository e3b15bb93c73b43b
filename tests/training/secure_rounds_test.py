import collections
import dataclasses
import types
from typing import Any

import numpy as np
import pytest

import tff_cnn
from tff_cnn.aggregators import Mean, SecureSum
from tff_cnn.aggregators.masking import execution
from tff_cnn.aggregators.masking.execution import Masking
from tff_cnn.algorithms.local_training import DROPPED
from tff_cnn.core import secure_sums
from tff_cnn.training import assembly, secure_rounds
from tff_cnn.training.engine import StepResult, Work
from tff_cnn.training.narrowing import LOSS_BYTES

MASKED = SecureSum(secure_protocol="masking")


@dataclasses.dataclass(frozen=True)
class Engine:
    """Sums its clients' numbers modulo 1,000, securely if it can.

    Its loss is the sum over those who have not dropped out.
    """

    row: dict
    narrow: Any = None
    other = "of this engine"

    def step(self, state, work):
        if self.narrow is not None:
            work = self.narrow(self.weights(state), work)
        total = secure_sums.begun([1000], len(work.data))
        if total is None:
            return StepResult("plain", {"cohort_size": len(work.data)})
        loss = 0
        for client, (element,) in enumerate(work.data):
            total.add(client, [np.int64([element["number"]])])
            loss += element["number"] * (1 - element.get(DROPPED, 0))
        (found,) = total.finish()
        row = {"cohort_size": len(work.data), "train_loss": loss, **self.row}
        return StepResult(state + int(found[0]), row)

    def weights(self, state):
        return [np.zeros(25, np.float32)]


def step(aggregator, engine=None, number=1):
    config = types.SimpleNamespace(aggregator=aggregator, seed=3)
    run = types.SimpleNamespace(config=config)
    found = secure_rounds.masked(engine or Engine({"a": 1}), run)
    data = [[collections.OrderedDict(number=2**u)] for u in range(8)]
    return found, found.step(7, Work(number, range(8), data))


@pytest.mark.parametrize("aggregator", [Mean(), SecureSum()])
def test_an_engine_stays_what_it_is_where_nothing_is_masked(aggregator):
    engine = Engine({})
    found, result = step(aggregator, engine)
    assert found is engine
    assert result.state == "plain"


def test_rows_tell_what_was_sent_and_who_was_lost():
    found, result = step(MASKED)
    assert found.other == "of this engine"
    assert not hasattr(found, "what_it_has_not")
    assert result.state == 7 + 255
    # The model of 100 bytes for each of eight, and what is for the protocol.
    down = 8 * 100 + 8 * (7 * (68 + 98) + 8 * 4)
    assert result.row == {
        "a": 1,
        "cohort_size": 8,
        "train_loss": 255,
        "secure_dropped": 0,
        "secure_recovered": 0,
        "secure_aborted": 0,
        "bytes_up": 8 * (64 + 7 * 98 + 2 + 4 + 8 * 37),
        "bytes_down": down,
    }
    # Who was asked for a loss has sent it, and what an engine knows counts.
    engine = Engine({"bytes_down": 5}, narrow=lambda weights, work: work)
    polled = step(MASKED, engine)[1].row
    assert polled["bytes_up"] == result.row["bytes_up"] + 8 * LOSS_BYTES
    assert polled["bytes_down"] == down - 800 + 5


def test_dropouts_are_of_the_runs_seed_and_the_round():
    options = dataclasses.replace(
        MASKED, secure_threshold=0.51, secure_dropout=0.1
    )
    rounds = [step(options, number=n)[1] for n in range(1, 7)]
    again = [step(options, number=n)[1] for n in range(1, 7)]
    assert rounds == again
    dropped = [result.row["secure_dropped"] for result in rounds]
    assert len(set(dropped)) > 1
    assert {result.row["secure_aborted"] for result in rounds} == {0, 1}
    for state, row, *_ in rounds:
        if row["secure_aborted"]:
            assert (state, row["train_loss"]) == (7, None)
            assert row["train_accuracy"] is None
            continue
        assert row["train_loss"] == state - 7
        assert bin(state - 7).count("1") == 8 - row["secure_dropped"]


def test_who_drops_out_is_one_of_those_who_take_part():
    """Candidates that are not chosen are nobody in the sum."""

    def narrow(weights, work):
        assert len(weights[0]) == 25
        return Work(work.number, work.cohort[2:], work.data[2:])

    options = dataclasses.replace(
        MASKED, secure_threshold=0.51, secure_dropout=0.1
    )
    found = [step(options, Engine({}, narrow), n)[1] for n in range(1, 7)]
    assert sum(result.row["secure_dropped"] for result in found) > 0
    for state, row, *_ in found:
        assert row["cohort_size"] == 6
        if not row["secure_aborted"]:
            assert row["train_loss"] == state - 7


def test_a_run_is_masked():
    config = tff_cnn.RunConfig(
        aggregator=dataclasses.replace(MASKED, secure_neighbours=2),
        num_clients=10,
        clients_per_round=5,
        rounds=1,
    )
    (row,) = tff_cnn.train(config).metrics
    assert row["secure_clients"] == 5
    assert row["secure_dropped"] == row["secure_clipped"] == 0
    # 5,450 numbers and three beside them, of 6 bytes each; and the protocol.
    assert row["bytes_up"] == 5 * (5453 * 6 + 64 + 2 * 98 + 4 + 3 * 37)
    assert row["bytes_down"] == 5 * (5450 * 4 + 2 * (68 + 98) + 3 * 4)


def test_rows_are_of_those_who_are_in_the_sum():
    """As if nobody else had come."""
    given = {"num_clients": 12, "clients_per_round": 12, "rounds": 1}
    options = dataclasses.replace(
        MASKED, secure_threshold=0.51, secure_dropout=0.08
    )
    rows = {}
    with tff_cnn.runtime.use("in_process", threads=1):
        for aggregator in (Mean(), options):
            config = tff_cnn.RunConfig(aggregator=aggregator, **given)
            run = assembly.build(config.resolved())
            engine = run.engine()
            work = engine.plan(8)
            if aggregator == Mean():
                masking = Masking(0.51, dropout=0.08)
                gone = execution.absent(masking, 0, 8, 12)
                assert gone == {4, 6, 9}
                stays = [i for i in range(12) if i not in gone]
                work = Work(8, stays, [work.data[i] for i in stays])
            rows[aggregator] = engine.step(engine.initialize(), work).row
        masked = rows[options]
        assert masked["secure_dropped"] == len(gone)
        assert masked["cohort_size"] == 12
        assert masked["clients_excluded"] == 0
        for name in ("train_loss", "train_accuracy"):
            assert masked[name] == pytest.approx(rows[Mean()][name], rel=1e-6)


def test_an_aborted_round_changes_nothing():
    """Not even by the momentum of the rounds before."""
    options = dataclasses.replace(MASKED, secure_dropout=0.2)
    config = tff_cnn.RunConfig(
        aggregator=options,
        num_clients=8,
        clients_per_round=8,
        server_optimizer=tff_cnn.Sgd(learning_rate=1.0, momentum=0.9),
    )
    aborted = []
    with tff_cnn.runtime.use("in_process", threads=1):
        engine = assembly.build(config.resolved()).engine()
        state = engine.initialize()
        for number in range(1, 5):
            before = state
            state, row, *_ = engine.step(state, engine.plan(number))
            aborted.append(row["secure_aborted"])
            same = [
                np.array_equal(new, old)
                for new, old in zip(
                    engine.weights(state), engine.weights(before), strict=True
                )
            ]
            assert all(same) == any(same) == bool(aborted[-1])
    assert 0 in aborted[: aborted.index(1)]  # There was momentum.
