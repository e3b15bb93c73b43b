import dp_accounting
import pytest

from tff_cnn.privacy import accounting, stages
from tff_cnn.privacy.participation import Neighbours

STATEMENTS = dict(
    stage="aggregation",
    unit="client",
    adversary="the public",
    neighbouring_relation="add or remove",
    sampling="all",
    mechanism={"name": "Some"},
    rounds=2,
    combination="Nothing.",
)


GAUSSIAN = dp_accounting.GaussianDpEvent(2.0)


def report(event=GAUSSIAN, **changed):
    return stages.report(
        event, Neighbours.REPLACE_ONE, 1e-5, **{**STATEMENTS, **changed}
    )


def test_epsilon_is_by_both_accountants():
    found = report()
    both = accounting.epsilons(GAUSSIAN, 1e-5)
    assert found.epsilon_pld == pytest.approx(both["pld"])
    assert found.epsilon_rdp == pytest.approx(both["rdp"])
    assert found.epsilon == found.epsilon_pld < found.epsilon_rdp
    assert found.to_dict()["mechanism"] == {"name": "Some"}


def test_where_pld_has_no_rule_rdp_counts():
    event = dp_accounting.SampledWithoutReplacementDpEvent(
        10, 5, dp_accounting.GaussianDpEvent(2.0)
    )
    found = report(event)
    assert found.epsilon_pld is None
    assert found.epsilon == found.epsilon_rdp
    assert "PLD has no rule" in found.sentence()


def test_what_nobody_can_account_for_raises():
    with pytest.raises(dp_accounting.UnsupportedEventError):
        report(dp_accounting.UnsupportedDpEvent())


def test_sentences_name_their_stage_where_there_are_two():
    one, two = report(), report(stage="client_update", unit="example")
    assert stages.combined([one]) == one.sentence()
    both = stages.combined([two, one])
    assert both.index("[client_update]") < both.index("[aggregation]")
    assert "for each example" in both and "for each client" in both
