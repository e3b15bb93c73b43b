import json
import pathlib

import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import (
    EXAMPLE_MECHANISMS,
    MECHANISMS,
    accounting,
    descriptions,
)
from tff_cnn.privacy.distributed import DistributedSkellam
from tff_cnn.privacy.ledger import Ledger, StagedLedger
from tff_cnn.privacy.local import ExampleDpSgd
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation

BASELINES = pathlib.Path(__file__).parents[2] / "experiments" / "baselines"
POISSON = Participation("poisson", 0.5)
MECHANISM = FixedClipGaussian(0.3, 1.9, 150.0, POISSON)
WITHOUT_REPLACEMENT = FixedClipGaussian(
    0.3, 1.9, 150.0, Participation("fixed_size", 0.5, num_clients=300)
)


def test_counts_rounds_and_states_the_guarantee_in_full():
    ledger = Ledger(MECHANISM, 1e-3)
    assert ledger.epsilon() == 0.0
    spent = [ledger.spend_round() for _ in range(3)]
    assert spent == [
        accounting.epsilon(MECHANISM.event_after(r), 1e-3) for r in (1, 2, 3)
    ]
    statement = ledger.statement()
    assert statement["epsilon"] == statement["epsilon_pld"] == spent[-1]
    assert statement["epsilon_rdp"] > statement["epsilon_pld"]
    assert statement["rounds"] == 3
    assert statement["delta"] == 1e-3
    assert statement["unit"] == "client"
    assert statement["stage"] == "aggregation"
    assert "not the server" in statement["adversary"]
    assert "add or remove one client" in statement["neighbouring_relation"]
    assert "Poisson with rate 0.5" in statement["sampling"]
    assert statement["mechanism"]["name"] == "FixedClipGaussian"
    assert statement["mechanism"]["noise_multiplier"] == 1.9
    assert "post-processing" in statement["combination"]


def test_where_one_accountant_has_no_rule_the_other_is_stated():
    mechanism = DistributedSkellam(
        0.3,
        1.9,
        150.0,
        Participation("fixed_size", 0.5, 300),
        num_parameters=100,
    )
    statement = Ledger(mechanism, 1e-3, 3).statement()
    assert statement["epsilon_pld"] is None
    assert statement["epsilon"] == statement["epsilon_rdp"] > 0
    assert "zero out one client" in statement["neighbouring_relation"]


def test_a_fixed_size_is_counted_under_replacement():
    statement = Ledger(WITHOUT_REPLACEMENT, 1e-3, 3).statement()
    assert statement["epsilon_rdp"] > statement["epsilon_pld"]
    assert statement["epsilon"] == statement["epsilon_pld"] > 0
    assert "replace one client" in statement["neighbouring_relation"]


def test_changing_the_mechanism_moves_the_ledger():
    loud = FixedClipGaussian(0.3, 3.8, 150.0, POISSON)
    assert (
        Ledger(loud, 1e-3, rounds=10).epsilon()
        < Ledger(MECHANISM, 1e-3, rounds=10).epsilon()
    )


def test_stops_before_the_round_that_would_cross_the_limit():
    after = [Ledger(MECHANISM, 1e-3, rounds=r).epsilon() for r in range(6)]
    # Between what four and what five rounds cost.
    ledger = Ledger(MECHANISM, 1e-3, 0, (after[4] + after[5]) / 2)
    for _ in range(4):
        assert ledger.allows_next_round()
        ledger.spend_round()
    assert not ledger.allows_next_round()
    with pytest.raises(UsageError, match="round 5 would spend epsilon"):
        ledger.spend_round()
    assert ledger.rounds == 4
    assert ledger.epsilon() == after[4]


def test_a_limit_may_be_reached_exactly():
    limit = Ledger(MECHANISM, 1e-3, rounds=2).epsilon()
    ledger = Ledger(MECHANISM, 1e-3, 0, limit)
    ledger.spend_round()
    assert ledger.spend_round() == limit
    assert not ledger.allows_next_round()


def test_its_state_survives_json_and_is_bound_to_mechanism_delta_and_round():
    spent = Ledger(MECHANISM, 1e-3, 4)
    state = json.loads(json.dumps(spent.to_state()))
    fresh = Ledger(MECHANISM, 1e-3)
    fresh.restore(state, 4)
    assert fresh == spent
    for other, round_num, name in [
        (Ledger(MECHANISM, 1e-3), 5, "rounds 4, not 5"),
        (Ledger(MECHANISM, 1e-4), 4, "delta 0.001, not 0.0001"),
        (Ledger(WITHOUT_REPLACEMENT, 1e-3), 4, "mechanism"),
    ]:
        with pytest.raises(ValueError, match=name):
            other.restore(state, round_num)
        assert other.rounds == 0


def test_the_last_digit_of_a_number_is_no_other_mechanism():
    # Of releases before this one, which multiplied the rate.
    saved = FixedClipGaussian(0.3, 1.9, 15.000000000000002, POISSON)
    ledger = Ledger(FixedClipGaussian(0.3, 1.9, 15.0, POISSON), 1e-3)
    ledger.restore(Ledger(saved, 1e-3, 4).to_state(), 4)
    assert ledger.rounds == 4
    other = FixedClipGaussian(0.3, 1.9, 15.0000001, POISSON)
    with pytest.raises(ValueError, match="mechanism"):
        ledger.restore(Ledger(other, 1e-3, 4).to_state(), 4)


LOCAL = ExampleDpSgd(1.0, 1.1, 10, 1, (100,), POISSON)


def staged(central_limit=None, local_limit=None):
    return StagedLedger(
        [
            Ledger(MECHANISM, 1e-3, epsilon_limit=central_limit),
            Ledger(LOCAL, 1e-4, epsilon_limit=local_limit),
        ]
    )


def test_stages_are_spent_together_and_stated_apart():
    ledger = staged()
    spent = [ledger.spend_round() for _ in range(2)]
    central, local = ledger.stages
    assert central.rounds == local.rounds == 2
    assert spent[-1] == central.epsilon() != local.epsilon()
    assert local.epsilon() == Ledger(LOCAL, 1e-4, 2).epsilon()
    assert (ledger.of("dp"), ledger.of("example_dp")) == (central, local)
    assert StagedLedger([central]).of("example_dp") is None
    units = [stage.statement()["unit"] for stage in ledger.stages]
    assert units == ["client", "example"]


@pytest.mark.parametrize("limited", ["central_limit", "local_limit"])
def test_any_stage_stops_the_run_and_none_counts_the_round(limited):
    mechanism, delta = {
        "central_limit": (MECHANISM, 1e-3),
        "local_limit": (LOCAL, 1e-4),
    }[limited]
    ledger = staged(**{limited: Ledger(mechanism, delta, 2).epsilon()})
    ledger.spend_round()
    assert ledger.allows_next_round()
    ledger.spend_round()
    assert not ledger.allows_next_round()
    flag = {"central_limit": "dp.epsilon", "local_limit": "example_dp.epsilon"}
    with pytest.raises(UsageError, match=f"round 3 .* {flag[limited]}="):
        ledger.spend_round()
    assert [stage.rounds for stage in ledger.stages] == [2, 2]


def test_the_state_of_all_stages_survives_json():
    ledger, fresh = staged(), staged()
    ledger.spend_round()
    state = json.loads(json.dumps(ledger.to_state()))
    fresh.restore(state, 1)
    assert fresh == ledger
    with pytest.raises(ValueError, match="2 stages, not 1"):
        StagedLedger(staged().stages[:1]).restore(state, 1)
    state["stages"][1]["mechanism"]["noise_multiplier"] = 2.2
    with pytest.raises(ValueError, match="mechanism"):
        staged().restore(state, 1)


@pytest.mark.parametrize("mechanism", [MECHANISM, WITHOUT_REPLACEMENT])
def test_rounds_that_were_released_twice_are_counted_twice(mechanism):
    ledger = Ledger(mechanism, 1e-3)
    for _ in range(2):
        ledger.spend_round()
    ledger.abandon(1, 3)
    ledger.abandon(2, 2)
    assert ledger.abandoned == ((1, 3), (2, 2))
    assert ledger.epsilon() == Ledger(mechanism, 1e-3, 6).epsilon()
    assert ledger.epsilon_after(3) == Ledger(mechanism, 1e-3, 7).epsilon()
    statement = ledger.statement()
    assert statement["rounds"] == 6
    assert statement["rounds_repeated"] == 4
    assert statement["epsilon"] == ledger.epsilon()
    assert (
        statement["epsilon_rdp"]
        == (Ledger(mechanism, 1e-3, 6).statement()["epsilon_rdp"])
    )


def test_before_the_first_round_only_branches_have_cost_something():
    assert Ledger(MECHANISM, 1e-3).statement()["epsilon"] == 0
    assert Ledger(MECHANISM, 1e-3).statement()["epsilon_rdp"] == 0
    again = Ledger(MECHANISM, 1e-3, abandoned=((1, 5),))
    assert again.epsilon() == Ledger(MECHANISM, 1e-3, 5).epsilon()


def test_abandoned_rounds_bring_the_limit_nearer():
    limit = Ledger(MECHANISM, 1e-3, 5).epsilon()
    ledger = Ledger(MECHANISM, 1e-3, 0, limit)
    ledger.abandon(1, 3)
    ledger.spend_round()
    assert ledger.spend_round() == limit
    assert not ledger.allows_next_round()
    with pytest.raises(UsageError, match="round 3 would spend epsilon"):
        ledger.spend_round()


def test_a_checkpoint_is_restored_beside_branches_that_it_does_not_know():
    state = Ledger(MECHANISM, 1e-3, 4).to_state()
    assert set(state) == {"rounds", "delta", "mechanism"}
    ledger = Ledger(MECHANISM, 1e-3)
    ledger.abandon(5, 6)
    ledger.restore(state, 4)
    assert (ledger.rounds, ledger.abandoned) == (4, ((5, 6),))
    assert ledger.epsilon() == Ledger(MECHANISM, 1e-3, 6).epsilon()
    with pytest.raises(ValueError, match="branches"):
        ledger.abandon(3, 2)
    assert ledger.abandoned == ((5, 6),)


def recorded_stages():
    """Stages of the published baselines, each kind of run once."""
    names = {
        registry.get(name).__name__: registry.get(name)
        for registry in (MECHANISMS, EXAMPLE_MECHANISMS)
        for name in registry
    }
    found = {}
    for path in BASELINES.glob("*/results/*.json"):
        record = json.loads(path.read_text())
        for stage in record.get("stages", []):
            fields = stage["mechanism"]
            mechanism = descriptions.read(names[fields["name"]], fields)
            found[path.parts[-3], stage["epsilon"]] = (mechanism, stage)
    assert len(found) > 5
    return found.values()


def test_what_was_published_is_still_an_upper_bound():
    for mechanism, stage in recorded_stages():
        found = Ledger(mechanism, stage["delta"], stage["rounds"]).epsilon()
        assert 0.99 * stage["epsilon"] < found <= stage["epsilon"]


def test_all_stages_count_what_was_abandoned():
    ledger = staged()
    ledger.spend_round()
    ledger.abandon(1, 2)
    assert ledger.spend_round() == Ledger(MECHANISM, 1e-3, 4).epsilon()
    assert [stage.abandoned for stage in ledger.stages] == [((1, 2),)] * 2
    assert ledger.stages[1].epsilon() == Ledger(LOCAL, 1e-4, 4).epsilon()
