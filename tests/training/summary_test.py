import dataclasses

import numpy as np
import pytest

from tests.training import client_table_test
from tff_cnn.privacy.distributed import DistributedSkellam
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.training import summary
from tff_cnn.training.diagnostics import NOT_PRIVATE

WEIGHTS = [np.zeros((2, 3), np.float32)]
LEDGER = Ledger(
    FixedClipGaussian(1.0, 2.0, 5.0, Participation("poisson", 0.5)), 1e-3, 3
)


def rows(accuracies):
    return [
        {
            "round": n,
            "cohort_size": 10,
            "test_accuracy": accuracy,
            "test_loss": 0.5,
            "clients_excluded": 1,
            "seconds": 2.0,
            "examples": 10,
        }
        for n, accuracy in enumerate(accuracies, start=1)
    ]


def summarize(accuracies=(0.2, None, 0.8), target=None, ledger=None, det=False):
    return summary.summarize(
        rows(accuracies), WEIGHTS, target, ledger, det, "test"
    )


def test_figures_come_from_the_rows():
    result = summarize()
    assert result["rounds"] == 3
    assert result["test_accuracy"] == 0.8
    assert result["clients_excluded"] == 3
    assert result["seconds_per_round"] == 2.0
    assert result["examples_per_second"] == 5.0
    assert result["num_parameters"] == 6
    assert len(result["weights_sha256"]) == 64


@pytest.mark.parametrize(
    ("accuracies", "target", "expected"),
    [
        ((0.2, 0.7, 0.8), 0.7, 2),
        ((0.2, 0.7, 0.8), 0.9, None),
        ((0.2, 0.7, 0.8), None, None),
    ],
)
def test_rounds_to_target(accuracies, target, expected):
    assert summarize(accuracies, target)["rounds_to_target"] == expected


def test_a_private_run_states_unit_delta_neighbours_and_sampling():
    result = summarize(ledger=LEDGER)
    assert result["is_private"]
    assert result["epsilon"] == LEDGER.epsilon()
    assert (result["delta"], result["noise_multiplier"]) == (1e-3, 2.0)
    guarantee = result["privacy"]["guarantee"]
    for part in (
        "epsilon",
        "delta 0.001",
        "client",
        "add or remove",
        "Poisson",
        "not the server",
        "by PLD",
        f"{LEDGER.statement()['epsilon_rdp']:.2f} by RDP",
    ):
        assert part in guarantee
    assert result["privacy"]["epsilon_rdp"] > result["epsilon"]
    assert not result["stopped_by_epsilon"]


def test_raw_metrics_of_a_private_run_are_named():
    private = rows((0.5,))
    private[0] |= {"epsilon": 1.0, "train_loss": 0.3, "noise_stddev": 0.1}
    private[0] |= {"bytes_up": 7, "bytes_down": 7}
    result = summary.summarize(private, WEIGHTS, None, LEDGER, False, "test")
    assert set(result["not_private_metrics"]["names"]) == {
        # The size of the cohort, and what tells it.
        "cohort_size",
        "bytes_up",
        "bytes_down",
        "examples",
        "seconds",
        "train_loss",
        "clients_excluded",
    }
    assert summarize()["not_private_metrics"]["names"] == []


def test_says_when_the_limit_ended_the_run():
    limited = dataclasses.replace(LEDGER, epsilon_limit=LEDGER.epsilon())
    assert summarize(ledger=limited)["stopped_by_epsilon"]
    arguments = (rows((0.5,) * 3), WEIGHTS, None, limited, False, "test")
    asked_for = {n: summary.summarize(*arguments, last_round=n) for n in (3, 9)}
    assert not asked_for[3]["stopped_by_epsilon"]  # All that was asked for.
    assert asked_for[9]["stopped_by_epsilon"]


def test_a_guarantee_that_only_rdp_gives_says_so():
    mechanism = DistributedSkellam(
        1.0, 2.0, 5.0, Participation("fixed_size", 0.5, 10), num_parameters=3
    )
    guarantee = summarize(ledger=Ledger(mechanism, 1e-3, 3))["privacy"]
    assert "by RDP; PLD has no rule" in guarantee["guarantee"]


def test_deterministic_noise_is_called_not_private():
    result = summarize(ledger=LEDGER, det=True)
    assert not result["is_private"]
    assert result["privacy"]["guarantee"].startswith("NOT PRIVATE")


def test_without_privacy_there_is_no_epsilon():
    result = summarize()
    assert not result["is_private"]
    assert result["epsilon"] is result["delta"] is None
    assert result["noise_multiplier"] is None
    assert result["privacy"]["guarantee"].startswith("none")


def test_the_accuracy_under_attack_is_that_of_the_last_round():
    attacked = rows((0.5, 0.75))
    for row, accuracy in zip(attacked, (None, 0.25), strict=True):
        row["test_robust_accuracy"] = accuracy
    found = summary.summarize(attacked, WEIGHTS, None, None, False, "test")
    assert found["test_robust_accuracy"] == 0.25
    assert "under attack        accuracy 25.00% (by PGD)" in summary.render(
        found
    )
    assert "under attack" not in summary.render(summarize())


def test_how_a_model_is_to_be_read_is_said():
    assert "note" not in summarize()
    found = summary.summarize(
        rows((0.5,)), WEIGHTS, None, None, False, "test", note="a headless body"
    )
    assert found["note"] == "a headless body"
    assert "  note                a headless body\n" in summary.render(found)


def test_rendering_names_all_that_a_person_needs():
    text = summary.render(summarize((0.2, 0.8), 0.7, LEDGER), "runs/x", "tb")
    for part in (
        "80.00%",
        "reached in round 2",
        "epsilon",
        "2.00 s a round",
        "runs/x",
        "tb --logdir=runs/x/tensorboard",
        "2 updates excluded",
    ):
        assert part in text
    assert "not reached" in summary.render(summarize(target=0.9), "r", "tb")


AUDIT = {
    "num_canaries": 200,
    "epsilon_estimate_final": 1.5,
    "interval_final": [1.25, 1.75],
    "epsilon_estimate_all": 9.0,
    "interval_all": [2.0, None],  # As JSON has an infinity.
    "level": 0.95,
    "exceeds_accountant": False,
}


@pytest.mark.parametrize("exceeds", [False, True])
def test_an_audit_stands_beside_the_guarantee(exceeds):
    audit = {**AUDIT, "exceeds_accountant": exceeds}
    result = summary.summarize(
        rows((0.5,)), WEIGHTS, None, LEDGER, False, "test", audit
    )
    assert result["audit"] == audit
    text = summary.render(result, "r", "tb")
    assert "200 canaries: 1.50 [1.25, 1.75] from the last" in text
    assert "9.00 [2.00, infinity] from those of all rounds (95%" in text
    assert "do not publish" in text
    assert ("MORE THAN THE ACCOUNTANT" in text) == exceeds


def test_without_canaries_nothing_is_said_of_an_audit():
    result = summarize(ledger=LEDGER)
    assert "audit" not in result
    assert "audit" not in summary.render(result, "r", "tb")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({2: {"clients_excluded": 10}}, None),  # It recovered.
        ({2: {"clients_excluded": 10}, 3: {"clients_excluded": 10}}, 2),
        ({3: {"test_loss": float("nan")}}, 3),
        ({3: {"test_loss": float("inf")}}, 3),
        ({3: {"test_loss": None}}, 3),  # As it is read from a file.
        # Not evaluated in between.
        (
            {
                1: {"test_loss": None},
                2: {"test_loss": None, "test_accuracy": None},
                3: {"clients_excluded": 10},
            },
            1,
        ),
        ({3: {"cohort_size": 0, "clients_excluded": 0}}, None),
    ],
)
def test_a_divergence_is_told_with_its_round(changes, expected):
    found = rows((0.2, 0.3, 0.4))
    for number, values in changes.items():
        found[number - 1].update(values)
    told = summary.summarize(found, WEIGHTS, None, None, False, "test")
    assert told["diverged_in_round"] == expected
    text = summary.render(told, "runs/x", "tb")
    assert ("DIVERGED" in text) == (expected is not None)
    if expected:
        assert f"in round {expected} " in text
        assert "server_learning_rate" in text


def test_cohorts_that_were_not_secret_are_told():
    arguments = (rows((0.5,)), WEIGHTS, None, LEDGER, False, "test")
    told = summary.summarize(*arguments, num_unsecret=4)
    for statement in (told["privacy"], told["privacy"]["stages"][0]):
        assert "first 4 rounds followed from the seed" in statement["sampling"]
    assert "first 4 rounds" in told["privacy"]["guarantee"]
    assert (
        "followed" not in summary.summarize(*arguments)["privacy"]["sampling"]
    )


def test_a_clock_is_read_where_the_target_was_reached():
    found = rows((0.2, 0.7, 0.8))
    for row in found:
        row["simulated_time"] = 10.5 * row["round"]

    def told(target):
        return summary.summarize(found, WEIGHTS, target, None, False, "test")

    assert told(0.7)["simulated_seconds"] == 31.5
    assert told(0.7)["simulated_seconds_to_target"] == 21.0
    assert told(0.9)["simulated_seconds_to_target"] is None
    assert "31.5 s, 21.0 s to the target" in summary.render(told(0.7))
    assert "simulated clock" in summary.render(told(None))
    assert "simulated" not in str(summarize(target=0.7))
    assert "simulated" not in summary.render(summarize())


def test_a_clock_tells_of_clients():
    private = rows((0.5,))
    private[0] |= {"epsilon": 1.0, "simulated_time": 1, "simulated_seconds": 1}
    result = summary.summarize(private, WEIGHTS, None, LEDGER, False, "test")
    names = set(result["not_private_metrics"]["names"])
    assert names >= {"simulated_time", "simulated_seconds"}


def test_how_unlike_clients_are_is_told_with_its_label():
    def told(is_private):
        table = client_table_test.a_table(is_private=is_private)
        return summary.summarize(
            *(rows((0.5,)), WEIGHTS, None, LEDGER, False, "test"),
            clients=table.summary,
        )

    assert told(True)["clients"]["privacy"] == NOT_PRIVATE
    line = "the model 37.50% (worst tenth 0.00%), after 2 local epochs 75.00%"
    text = summary.render(told(False))
    assert line in text and NOT_PRIVATE not in text
    assert f"that training clients hold out ({NOT_PRIVATE})" in summary.render(
        told(True)
    )
    assert "clients" not in summarize()


def test_what_was_sent_stands_beside_what_fedavg_sends():
    found = [{**row, "bytes_down": 700, "bytes_up": 80} for row in rows((1, 1))]
    told = summary.summarize(found, WEIGHTS, None, None, False, "test")
    # Two rounds of ten clients, 6 parameters each way and a weight back.
    expected = 2 * 10 * (24 + 24 + 4)
    assert told["traffic"] == {
        "bytes_down": 1400,
        "bytes_up": 160,
        "bytes_of_fedavg": expected,
        "bytes_up_of_fedavg": 2 * 10 * (24 + 4),
    }
    assert (
        "0.0014 MB down, 0.00016 MB up, 0.00156 MB in all: 1.5 times what "
        "FedAvg would send, uploads 3.5 times smaller"
    ) in summary.render(told)
    as_fedavg = [{**row, "bytes_down": 240, "bytes_up": 280} for row in found]
    told = summary.summarize(as_fedavg, WEIGHTS, None, None, False, "test")
    assert told["traffic"]["bytes_of_fedavg"] == expected
    assert told["traffic"]["bytes_down"] + told["traffic"]["bytes_up"] == (
        expected
    )
    assert "traffic" not in summary.render(told)
    # How large cohorts are is nobody's business in a private run.
    private = summary.summarize(found, WEIGHTS, None, LEDGER, False, "test")
    assert "traffic" not in private
    assert "traffic" not in summarize()


def test_what_else_was_measured_in_short():
    metric = {"uniform": {"mean": 0.5}, "weighted": {"mean": 0.75}}
    found = summary.measured(
        {
            "test_robust_accuracy": 0.25,
            "simulated_seconds_to_target": None,
            "traffic": {
                "bytes_down": 10**6,
                "bytes_up": 5 * 10**5,
                "bytes_up_of_fedavg": 2 * 10**6,
            },
            "clients": {
                "main_set": "holdout",
                "sets": {"holdout": {"accuracy": metric, "loss": metric}},
            },
        }
    )
    assert found == {
        "under attack": 0.25,
        "MB sent": 1.5,
        "times smaller uploads": 4.0,
        "mean client": 0.5,
    }
    whole = {"bytes_down": 1, "bytes_up": 10**6, "bytes_up_of_fedavg": 10**6}
    assert summary.measured({"traffic": whole}) == {"MB sent": 1.000001}
    assert summary.measured({"traffic": {**whole, "bytes_up": 0}}) == {
        "MB sent": 1e-6
    }
    assert summary.measured({}) == {}
