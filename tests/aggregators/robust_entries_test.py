"""What a run may choose of robust rules and bounds."""

import pytest

from tff_cnn.aggregators import AGGREGATORS
from tff_cnn.aggregators.robust_entries import (
    Bulyan,
    Krum,
    MultiKrum,
    NormBounding,
    TrimmedMean,
    Zeroing,
)
from tff_cnn.algorithms import FedBuff, FedDf, Hierarchical, Scaffold
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import LOCAL_RANDOMIZERS, MECHANISMS

RULES = [
    "median",
    "trimmed_mean",
    "geometric_median",
    "krum",
    "multi_krum",
    "bulyan",
    "centered_clipping",
]
LOCAL = LOCAL_RANDOMIZERS.find("gaussian").options(noise_multiplier=1.0)
DP = MECHANISMS.find("fixed_clip").options(noise_multiplier=1.0)


def refused(**fields) -> str:
    with pytest.raises(UsageError) as error:
        RunConfig(**fields).resolved()
    return str(error.value)


@pytest.mark.parametrize("rule", RULES)
def test_clients_count_by_number_wherever_number_is_what_it_withstands(rule):
    by_number = rule != "geometric_median"
    expected = "uniform" if by_number else "examples"
    assert RunConfig(aggregator=rule).resolved().client_weighting == expected
    chain = f"norm_bounding+{rule}"
    assert RunConfig(aggregator=chain).resolved().client_weighting == expected
    if by_number:
        message = refused(aggregator=rule, client_weighting="examples")
        assert "one of a great weight would be as good as many" in message


@pytest.mark.parametrize("rule", [*RULES, "norm_bounding+median"])
def test_central_noise_is_refused_with_the_reason(rule):
    message = refused(aggregator=rule, dp=DP)
    assert message.startswith(
        f"aggregator={rule} does not fit dp=fixed_clip: what one client "
        "moves is known of a sum of clipped updates; use aggregator=mean"
    )


@pytest.mark.parametrize("rule", RULES)
def test_clients_own_noise_is_not(rule):
    config = RunConfig(aggregator=rule, local_randomizer=LOCAL)
    assert config.resolved().client_weighting == "uniform"


def test_bounds_go_with_central_noise_where_they_are_fixed():
    for bound in (NormBounding(), Zeroing()):
        RunConfig(aggregator=bound, dp=DP).resolved()
    for bound in (
        NormBounding(bound_quantile=0.5),
        Zeroing(zeroing_quantile=0.9),
    ):
        message = refused(aggregator=bound, dp=DP)
        assert "releases them without noise" in message
        assert "quantile=0, or none of the former" in message
    # What it says to use can be used.
    RunConfig(aggregator=NormBounding(bound_quantile=0), dp=DP).resolved()


def test_options_of_a_quantile_need_one():
    for bound, name in (
        (NormBounding(bound_learning_rate=0.5), "bound_quantile"),
        (Zeroing(zeroing_learning_rate=0.5), "zeroing_quantile"),
        (Zeroing(zeroing_multiplier=3.0), "zeroing_quantile"),
    ):
        assert f"needs an aggregator.{name}" in refused(aggregator=bound)


@pytest.mark.parametrize("value", [-0.1, 0.5, 1.0])
def test_half_of_the_clients_cannot_be_trimmed_on_each_side(value):
    message = refused(aggregator=TrimmedMean(trim_fraction=value))
    assert "at least 0 and at most 0.499" in message


@pytest.mark.parametrize(
    ("kind", "least"), [(Krum, 7), (MultiKrum, 7), (Bulyan, 11)]
)
def test_a_number_of_attackers_needs_clients(kind, least):
    given = {"aggregator": kind(assumed_attackers=2), "num_clients": 50}
    RunConfig(**given, clients_per_round=least).resolved()
    message = refused(**given, clients_per_round=least - 1)
    assert f"use at least {least}, or fewer attackers" in message
    # As many on each edge.
    edges = {**given, "algorithm": Hierarchical(num_edges=2)}
    RunConfig(**edges, clients_per_round=2 * least).resolved()
    message = refused(**edges, clients_per_round=2 * least - 1)
    assert f"use at least {2 * least}, or fewer attackers" in message
    RunConfig(aggregator=kind(), clients_per_round=1).resolved()


def test_algorithms_that_need_the_mean_refuse_all_others():
    for name in (*RULES, "norm_bounding", "zeroing"):
        message = refused(aggregator=name, algorithm=Scaffold())
        assert "is a mean of what clients keep; use aggregator=mean" in message
        message = refused(aggregator=name, algorithm=FedDf())
        assert "which no aggregator sees" in message


def test_a_buffer_of_too_few_is_refused_as_well():
    message = refused(
        aggregator=Krum(assumed_attackers=2),
        algorithm=FedBuff(buffer_size=6),
        num_clients=50,
    )
    assert "clients_per_round=6" in message


def test_rules_come_last_and_alone():
    message = refused(aggregator="median+norm_bounding")
    assert "norm_bounding cannot follow median" in message
    assert "krum cannot follow median" in refused(aggregator="median+krum")
    for name in RULES:
        AGGREGATORS.options_of(f"zeroing+norm_bounding+{name}")
