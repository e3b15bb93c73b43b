import numpy as np
import pytest

from tff_cnn.privacy.mechanism import AdaptiveClipGaussian, FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.training import diagnostics
from tff_cnn.training.engine import Measured
from tff_cnn.training.loop import Round

POISSON = Participation("poisson", 0.5)
FIXED = FixedClipGaussian(0.5, 2.0, 100.0, POISSON)


def row_after(measured, mechanism=FIXED, rounds=9, before=(), number=1):
    def finished():
        found = measured and Measured(*measured)
        return Round(number, 0, {"round": number}, measured=found)

    hook = diagnostics.DiagnosticsHook(mechanism, 400, rounds, list(before))
    first = finished()
    hook.after_round(first)
    hook.after_round(finished())
    return first.row


def test_figures_by_hand():
    # Noise 2 * 0.5 / 100 on 400 coordinates has norm 0.2.
    row = row_after((80.0, 20.0, 30.0))
    assert row["clip_norm"] == 0.5
    assert row["fraction_clipped"] == 0.25
    assert row["mean_update_norm"] == pytest.approx(0.3)
    assert row["noise_stddev"] == pytest.approx(0.01)
    assert row["signal_to_noise"] == pytest.approx(1.5)


def test_an_adaptive_clip_is_that_of_the_round_and_not_the_next():
    adaptive = AdaptiveClipGaussian(0.5, 2.0, 100.0, POISSON)
    row = row_after((80.0, 20.0, 30.0), adaptive)
    assert row["clip_norm"] == 0.5
    row = row_after(
        (80.0, 20.0, 30.0),
        adaptive,
        before=[
            {
                "round": 1,
                "mean_update_norm": 0.3,
                "noise_stddev": 0.01,
                "next_clip_norm": 0.25,
            }
        ],
        number=2,
    )
    assert row["clip_norm"] == 0.25
    assert row["noise_stddev"] == pytest.approx(
        adaptive.sum_noise_multiplier * 0.25 / 100
    )


def test_an_empty_cohort_has_no_fraction_and_is_no_reason_to_worry(capsys):
    row = row_after((0.0, 0.0, 0.0))
    assert row["fraction_clipped"] is None
    assert row["signal_to_noise"] == 0
    assert capsys.readouterr().err == ""


def test_what_no_engine_measured_is_null_and_counts_for_nothing(capsys):
    expected = {
        "round": 1,
        "clip_norm": 0.5,
        "fraction_clipped": None,
        "mean_update_norm": None,
        "noise_stddev": 0.01,
        "signal_to_noise": None,
    }
    before = row_after(None)
    assert before == expected
    # As such rows are there of the rounds before.
    row_after((80.0, 2.0, 3.5), before=[before], number=2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("sum_norm", "rounds", "hopeless"),
    # The ratio is sum_norm / 20, and over 9 rounds three times that.
    [(3.5, 9, False), (3.0, 9, True), (3.0, 16, False)],
)
def test_a_hopeless_signal_is_said_once(sum_norm, rounds, hopeless, capsys):
    row_after((80.0, 2.0, sum_norm), rounds=rounds)
    said = capsys.readouterr().err
    assert said.count("mostly noise") == hopeless
    if hopeless:
        assert "a lower dp_clip_norm" in said
        assert "clients_per_round" in said
        assert "at most 0.45 of what their noise does" in said


def run_of(norms, rounds, num_parameters=5450, resumed_after=0):
    """Rounds with these norms of the mean update, on the quickstart's noise."""
    mechanism = FixedClipGaussian(0.3, 1.89, 150.0, POISSON)
    rows = []

    def new_hook():
        return diagnostics.DiagnosticsHook(
            mechanism, num_parameters, rounds, rows
        )

    hook = new_hook()
    for number, norm in enumerate(norms, 1):
        row = {"round": number}
        measured = Measured(150.0, 75.0, norm * 150)
        hook.after_round(Round(number, 0, row, measured=measured))
        rows.append(row)
        if number == resumed_after:
            hook = new_hook()


# Norms of the mean update in the quickstart's 60 rounds, means over six each,
# which end at 96 %; the noise of a round has norm 0.28.
QUICKSTART = [
    0.1022,
    0.0995,
    0.061,
    0.033,
    0.0221,
    0.0181,
    0.0174,
    0.0174,
    0.0175,
    0.0178,
]


@pytest.mark.parametrize("resumed_after", [0, 30])
def test_the_quickstart_is_not_told_that_it_is_hopeless(resumed_after, capsys):
    norms = np.repeat(QUICKSTART, 6)
    run_of(norms, 60, resumed_after=resumed_after)
    assert capsys.readouterr().err == ""
    # Its late rounds alone promised too little.
    assert norms[-1] * 60 < 0.28 * 60**0.5


def test_a_run_of_noise_is_told_in_its_first_round(capsys):
    # Ten times as many parameters and updates a tenth as long.
    run_of(np.repeat(QUICKSTART, 6) / 10, 60, num_parameters=54_500)
    said = capsys.readouterr().err
    assert said.count("mostly noise") == 1 and "by round 1 " in said


def test_a_model_that_stopped_learning_early_is_told_later(capsys):
    norms = np.concatenate([np.full(2, 0.05), np.full(58, 0.005)])
    run_of(norms, 60)
    assert "by round 2 " not in (said := capsys.readouterr().err)
    assert said.count("mostly noise") == 1


def test_only_raw_metrics_of_private_runs_are_labelled():
    private = {"epsilon": 1.0}
    assert diagnostics.is_not_private(private, "train_accuracy")
    assert diagnostics.is_not_private(private, "fraction_clipped")
    assert diagnostics.is_not_private(private, "secure_clipped")
    assert not diagnostics.is_not_private(private, "test_accuracy")
    assert not diagnostics.is_not_private(private, "noise_stddev")
    assert not diagnostics.is_not_private({"epsilon": None}, "train_accuracy")


def test_what_clients_measure_is_raw_too():
    names = ("client_accuracy_mean", "client_unseen_accuracy_worst_decile")
    for name in names:
        assert diagnostics.is_not_private({"epsilon": 1.0, name: 0.5}, name)
        assert not diagnostics.is_not_private({"epsilon": None}, name)
