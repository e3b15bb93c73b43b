import numpy as np
import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.training import hooks
from tff_cnn.training.checkpoints import state_digest
from tff_cnn.training.loop import Round
from tff_cnn.training.releases import BranchError, Releases


def finished(number=1, state=0.0, **row) -> Round:
    row = {"round": number, "cohort_size": 3, **row}
    return Round(number, state, row, get_weights=lambda state: state)


def evaluation(every, target=None, last_round=10):
    return hooks.EvaluationHook(
        {"test": lambda weights: {"loss": 1 - weights, "accuracy": weights}},
        last_round,
        every,
        target,
    )


def test_ledger_hook_counts_and_reports():
    ledger = Ledger(
        FixedClipGaussian(1.0, 2.0, 5.0, Participation("poisson", 0.5)), 1e-3
    )
    hook = hooks.LedgerHook(ledger)
    first, second = finished(1), finished(2)
    hook.after_round(first)
    hook.after_round(second)
    assert ledger.rounds == 2
    assert 0 < first.row["epsilon"] < second.row["epsilon"] == ledger.epsilon()
    assert second.row["delta"] == 1e-3


def test_a_round_is_recorded_with_its_state_and_its_metric(tmp_path):
    releases = Releases(tmp_path / "ledger.jsonl")
    releases.begin(after=0)
    hook = hooks.ReleaseHook(releases)
    hook.after_round(finished(1, np.float32(1), dp_cohort_accuracy=0.5))
    known = Releases(tmp_path / "ledger.jsonl")
    assert known.last_round == 1
    known.record(1, state_digest(np.float32(1)), 0.5)
    hook = hooks.ReleaseHook(known)
    with pytest.raises(BranchError):
        hook.after_round(finished(1, np.float32(2), dp_cohort_accuracy=0.5))
    with pytest.raises(BranchError):
        hook.after_round(finished(1, np.float32(1), dp_cohort_accuracy=0.25))


def test_the_ledger_stops_a_run_before_it_crosses_the_limit():
    mechanism = FixedClipGaussian(1.0, 2.0, 5.0, Participation("poisson", 0.5))
    limit = Ledger(mechanism, 1e-3, rounds=3).epsilon()
    ledger = Ledger(mechanism, 1e-3, epsilon_limit=limit * 1.001)
    hook, stops = hooks.LedgerHook(ledger), []
    for number in (1, 2, 3):
        round_ = finished(number)
        hook.after_round(round_)
        stops.append(round_.stop)
    assert stops == [False, False, True]
    with pytest.raises(UsageError, match="round 4 would spend"):
        hook.after_round(finished(4))
    assert ledger.rounds == 3


def test_the_last_round_is_evaluated_whatever_made_it_the_last():
    hook = evaluation(every=0)
    round_ = finished(3, 0.25)
    round_.stop = True
    hook.after_round(round_)
    assert round_.row["test_accuracy"] == 0.25


@pytest.mark.parametrize(
    ("every", "stops_at", "expected"),
    [(0, None, [6]), (0, 4, [4]), (3, None, [3, 6]), (4, None, [4, 6])],
)
def test_robustness_is_as_rare_as_asked_and_known_in_the_end(
    every, stops_at, expected
):
    hook = hooks.RobustnessHook(
        lambda weights: {"robust_accuracy": weights}, 6, every
    )
    found = []
    for number in range(1, (stops_at or 6) + 1):
        round_ = finished(number, number / 10)
        round_.stop = number == stops_at
        hook.after_round(round_)
        if round_.row["test_robust_accuracy"] is not None:
            assert round_.row["test_robust_accuracy"] == number / 10
            found.append(number)
    assert found == expected


def test_without_a_ledger_epsilon_is_null():
    round_ = finished()
    hooks.LedgerHook(None).after_round(round_)
    assert round_.row["epsilon"] is None and round_.row["delta"] is None


@pytest.mark.parametrize(
    ("every", "expected"), [(1, [1, 2, 3, 10]), (3, [3, 10]), (0, [10])]
)
def test_evaluates_when_due_and_at_the_end(every, expected):
    hook, evaluated = evaluation(every), []
    for number in (1, 2, 3, 10):
        round_ = finished(number, 0.25)
        hook.after_round(round_)
        if round_.row["test_accuracy"] is not None:
            evaluated.append(number)
            assert round_.row["test_accuracy"] == 0.25
            assert round_.row["test_loss"] == 0.75
    assert evaluated == expected


def test_held_out_examples_are_evaluated_beside():
    hook = hooks.EvaluationHook(
        {
            "test": lambda weights: {"loss": 1.0, "accuracy": weights},
            "holdout": lambda weights: {"loss": 2.0, "accuracy": weights / 2},
        },
        last_round=10,
        every=2,
        target_accuracy=0.4,
    )
    rounds = [finished(number, 0.5) for number in (1, 2)]
    for round_ in rounds:
        hook.after_round(round_)
    names = ("test_loss", "test_accuracy", "holdout_loss", "holdout_accuracy")
    assert [rounds[0].row[name] for name in names] == [None] * 4
    assert [rounds[1].row[name] for name in names] == [1.0, 0.5, 2.0, 0.25]
    assert rounds[1].stop


def test_stops_at_the_first_evaluation_that_reaches_the_target():
    hook = evaluation(every=2, target=0.5)
    stops = []
    for number, accuracy in ((1, 0.9), (2, 0.49), (4, 0.5)):
        round_ = finished(number, accuracy)
        hook.after_round(round_)
        stops.append(round_.stop)
    assert stops == [False, False, True]


def test_costs_are_those_of_the_cohort():
    round_ = finished(number=2)
    round_.cohort = (4, 7, 8)
    hook = hooks.CostHook(1000, lambda cohort, number: number * sum(cohort))
    hook.after_round(round_)
    assert round_.row["examples"] == 38
    assert round_.row["bytes_down"] == 3000
    assert round_.row["bytes_up"] == 3012
    assert round_.row["bytes_total"] == 6012


def test_speed_is_median_seconds_and_mean_throughput():
    rows = [
        {"seconds": 1.0, "examples": 100},
        {"seconds": 3.0, "examples": 100},
        {"seconds": 1.0, "examples": 100},
    ]
    assert hooks.speed(rows) == {
        "seconds_per_round": 1.0,
        "examples_per_second": 60.0,
    }


def test_the_clock_goes_on_from_the_rows():
    rows = []
    hook = hooks.ClockHook(lambda number: 2.0 * number, rows)
    for number in (1, 2):
        after = finished(number)
        hook.after_round(after)
        rows.append(after.row)
    assert [row["simulated_seconds"] for row in rows] == [2.0, 4.0]
    assert [row["simulated_time"] for row in rows] == [2.0, 6.0]
    # As when a run is resumed.
    again = finished(3)
    hooks.ClockHook(lambda number: 2.0 * number, rows).after_round(again)
    assert again.row["simulated_time"] == 12.0


def test_an_engine_s_own_clock_stays():
    own = finished(1, simulated_time=7.0, simulated_seconds=3.0)
    hooks.ClockHook(lambda number: 1 / 0, []).after_round(own)
    assert (own.row["simulated_seconds"], own.row["simulated_time"]) == (3, 7)


def test_progress_shows_what_a_person_wants_to_know(capsys):
    bar = hooks.ProgressBar(3, 4)
    base = {"train_loss": 0.5, "clients_excluded": 0}
    bar.after_round(finished(3, **base, test_accuracy=0.9312, epsilon=1.234))
    bar.after_round(
        finished(
            4,
            train_loss=None,
            clients_excluded=2,
            test_accuracy=None,
            epsilon=2.0,
        )
    )
    bar.close()
    shown = capsys.readouterr().err
    assert "round 4/4" in shown and "ETA" in shown
    # A round without evaluation keeps showing the last accuracy.
    for text in ("loss -", "test acc 93.1%", "epsilon 2.00", "2 excluded"):
        assert text in shown
