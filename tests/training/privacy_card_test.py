import numpy as np
import pytest

from tff_cnn.privacy.distributed import DistributedSkellam
from tff_cnn.privacy.ledger import Ledger, StagedLedger
from tff_cnn.privacy.participation import Participation
from tff_cnn.privacy.randomizers import LocalLaplace
from tff_cnn.training import privacy_card, summary

ROW = {
    "round": 3,
    "cohort_size": 5,
    "test_accuracy": 0.5,
    "test_loss": 0.5,
    "clients_excluded": 0,
    "seconds": 2.0,
    "examples": 10,
    "train_loss": 0.3,
    "epsilon": 1.0,
}
CENTRAL = Ledger(
    DistributedSkellam(
        0.7, 2.0, 5.0, Participation("fixed_size", 0.5, 10), num_parameters=3
    ),
    1e-3,
    3,
)
LOCAL = Ledger(LocalLaplace(0.9, 4.0, Participation("full", 1.0)), 1e-4, 3)


@pytest.fixture(scope="module")
def report():
    return summary.summarize(
        [ROW],
        [np.zeros(3, np.float32)],
        None,
        StagedLedger([LOCAL, CENTRAL]),
        False,
        "test",
    )


def test_has_all_of_every_stage(report):
    card = privacy_card.render(report)
    local, central = card.split("## Stage: ")[1:]
    assert local.startswith(LOCAL.mechanism.stage)
    assert central.startswith("aggregation")
    for text, stage in zip(
        (local, central), report["privacy"]["stages"], strict=True
    ):
        for part in (
            f"| Unit | {stage['unit']} |",
            stage["adversary"],
            stage["neighbouring_relation"],
            stage["sampling"],
            stage["combination"],
            f"| Epsilon by RDP | {stage['epsilon_rdp']:.4g} |",
            f"| Delta | {stage['delta']:.4g} |",
            stage["mechanism"]["name"],
        ):
            assert part in text
        assert f"epsilon {stage['epsilon']:.4g} at delta" in card
    assert f"| Epsilon by PLD | {LOCAL.epsilon():.4g} |" in local
    assert "| Epsilon by PLD | no rule for this mechanism |" in central
    assert "| Clipping (norm bound) | 0.9 |" in local
    assert "| Clipping (norm bound) | 0.7 |" in central
    assert "| Noise (scale over the bound) | 4 |" in local
    assert "| Settings | sampling full, rate 1.0 |" in local
    assert "sampling fixed_size, rate 0.5, num_clients 10" in central
    assert "num_parameters 3" in central


def test_says_what_is_not_covered_and_that_nothing_was_audited(report):
    card = privacy_card.render(report)
    missing = card.split("## What is not covered")[1]
    assert "Tuning" in missing and "not private, simulation only" in missing
    assert "train_loss" in missing
    assert "None was made." in card


def test_shows_an_audit(report):
    audit = {
        "num_canaries": 400,
        "epsilon_estimate_all": 1.25,
        "interval_all": [0.5, 2.5],
        "epsilon_estimate_final": 0.75,
        "interval_final": [0.0, 1.5],
        "level": 0.95,
        "delta": 1e-3,
        "accountant_epsilon": 2.0,
        "exceeds_accountant": False,
    }
    card = privacy_card.render({**report, "audit": audit})
    assert "None was made" not in card
    assert "400 canaries took part" in card and "epsilon 2 at delta" in card
    assert "| to whoever sees | epsilon | 95% interval |" in card
    assert "| the models of all rounds | 1.25 | 0.5 to 2.5 |" in card
    assert "| the last model alone | 0.75 | 0 to 1.5 |" in card
    assert "No interval lies above" in card
    audit["exceeds_accountant"] = True
    card = privacy_card.render({**report, "audit": audit})
    assert "**An interval lies above what the accountant counts" in card


def test_deterministic_noise_is_no_guarantee(report):
    card = privacy_card.render({**report, "is_private": False})
    assert "**NOT PRIVATE.**" in card
    assert "for each client (" not in card


def test_without_privacy_it_says_so():
    row = {**ROW, "epsilon": None}
    plain = summary.summarize([row], [np.zeros(3)], None, None, False, "test")
    card = privacy_card.render(plain)
    assert "**There is no guarantee.**" in card
    assert "epsilon" not in card


def test_rounds_that_were_released_anew_are_said():
    ledger = Ledger(CENTRAL.mechanism, 1e-3, 3)
    ledger.abandon(2, 3)
    told = summary.summarize([ROW], [np.zeros(3)], None, ledger, False, "test")
    card = privacy_card.render(told)
    assert "| Rounds | 5, of which 2 were left behind" in card
    assert told["epsilon"] > Ledger(CENTRAL.mechanism, 1e-3, 3).epsilon()
