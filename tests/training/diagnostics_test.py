import pytest

from tff_cnn.privacy.mechanism import AdaptiveClipGaussian, FixedClipGaussian
from tff_cnn.training import diagnostics
from tff_cnn.training.loop import Round

FIXED = FixedClipGaussian(0.5, 2.0, 100.0, "poisson", 0.5)


def row_after(measured, mechanism=FIXED, rounds=9, before=(), number=1):
    names = ("num_clients", "num_clipped", "sum_norm")
    measured = dict(zip(names, measured, strict=True))

    def finished():
        return Round(
            number,
            0,
            {"round": number},
            metrics={"aggregator": {"dp": measured}},
        )

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
    adaptive = AdaptiveClipGaussian(0.5, 2.0, 100.0, "poisson", 0.5)
    row = row_after((80.0, 20.0, 30.0), adaptive)
    assert row["clip_norm"] == 0.5
    row = row_after(
        (80.0, 20.0, 30.0), adaptive, before=[{"next_clip_norm": 0.25}]
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


@pytest.mark.parametrize(
    ("sum_norm", "rounds", "hopeless"),
    # The ratio is sum_norm / 20, and over 9 rounds three times that.
    [(7.0, 9, False), (6.0, 9, True), (6.0, 16, False)],
)
def test_a_hopeless_signal_is_said_once(sum_norm, rounds, hopeless, capsys):
    row_after((80.0, 2.0, sum_norm), rounds=rounds)
    said = capsys.readouterr().err
    assert said.count("mostly noise") == hopeless
    if hopeless:
        assert "a lower --dp_clip_norm" in said
        assert "--clients_per_round" in said
        assert "0.3 of its noise's" in said and "at most 0.9" in said


def test_only_raw_metrics_of_private_runs_are_labelled():
    private = {"epsilon": 1.0}
    assert diagnostics.is_not_private(private, "train_accuracy")
    assert diagnostics.is_not_private(private, "fraction_clipped")
    assert not diagnostics.is_not_private(private, "test_accuracy")
    assert not diagnostics.is_not_private(private, "noise_stddev")
    assert not diagnostics.is_not_private({"epsilon": None}, "train_accuracy")
