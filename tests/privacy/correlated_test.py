import dataclasses
import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting import rdp
from tensorflow_privacy.privacy.analysis import tree_aggregation_accountant

from tests.privacy.factorization_test import dense
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting, correlated
from tff_cnn.privacy.participation import Neighbours, Participation

# 400 clients, 50 a round: epochs of 8 rounds.
EPOCHS = dict(
    clip_norm=0.5,
    noise_multiplier=2.0,
    expected_cohort=50.0,
    participation=Participation("shuffled_epochs", 1 / 8, 400, 8, 8),
)
POISSON = Participation("poisson", 1 / 8)
FULL = Participation("full", 1.0)
TREE = correlated.TreeAggregation(**EPOCHS)
BANDED = correlated.BandedMatrixFactorization(**EPOCHS, rounds=40, bands=8)
BLT = correlated.BltMatrixFactorization(**EPOCHS, rounds=40, buffers=2)
RELEASE = correlated.ReleaseNoise(**EPOCHS)
ALL = [RELEASE, TREE, dataclasses.replace(TREE, single_tree=True), BANDED, BLT]


def epochs(per_epoch, separation=None):
    participation = dataclasses.replace(
        EPOCHS["participation"],
        rounds_per_epoch=per_epoch,
        min_separation=separation or per_epoch,
    )
    return {**EPOCHS, "participation": participation}


@pytest.mark.parametrize("mechanism", ALL)
def test_the_event_is_one_gaussian_of_noise_over_sensitivity(mechanism):
    for rounds in (1, 8, 9, 40, 100):
        squared = mechanism.squared_sensitivity(rounds)
        event = mechanism.event_after(rounds)
        assert isinstance(event, dp_accounting.GaussianDpEvent)
        assert event.noise_multiplier == pytest.approx(2.0 / math.sqrt(squared))
        assert mechanism.zcdp(rounds) == pytest.approx(squared / 8)
    assert mechanism.participation.neighbours is Neighbours.REPLACE_SPECIAL


@pytest.mark.parametrize("mechanism", ALL)
def test_a_metric_costs_one_release_for_each_participation(mechanism):
    with_metric = dataclasses.replace(mechanism, metric_noise_multiplier=5.0)
    for rounds, participations in ((1, 1), (9, 2), (40, 5)):
        assert with_metric.zcdp(rounds) - mechanism.zcdp(rounds) == (
            pytest.approx(participations / 50)
        )


@pytest.mark.parametrize("mechanism", ALL)
def test_epsilon_never_falls_and_halves_with_enough_noise(mechanism):
    def spent(mechanism, rounds):
        return accounting.epsilon(
            mechanism.event_after(rounds), 1e-4, Neighbours.REPLACE_SPECIAL
        )

    found = [spent(mechanism, rounds) for rounds in range(1, 41)]
    assert (np.diff(found) >= -1e-9).all()
    loud = dataclasses.replace(mechanism, noise_multiplier=4.0)
    assert spent(loud, 40) < 0.6 * spent(mechanism, 40)


@pytest.mark.parametrize("rounds", [1, 7, 8, 9, 16, 21])
@pytest.mark.parametrize("per_epoch", [1, 5, 8])
def test_restarted_trees_cost_what_tensorflow_privacy_says(rounds, per_epoch):
    tree = correlated.TreeAggregation(**epochs(per_epoch))
    steps = [per_epoch] * (rounds // per_epoch) + [rounds % per_epoch]
    expected = tree_aggregation_accountant.compute_rdp_tree_restart(
        2.0, steps, 3.0
    )
    assert 3.0 * tree.zcdp(rounds) == pytest.approx(expected)


def test_one_tree_costs_what_dp_accounting_says():
    accountant = rdp.RdpAccountant(
        neighboring_relation=Neighbours.REPLACE_SPECIAL
    )
    accountant.compose(dp_accounting.SingleEpochTreeAggregationDpEvent(2.0, 8))
    both = accounting.epsilons(
        TREE.event_after(8), 1e-4, Neighbours.REPLACE_SPECIAL
    )
    assert both["rdp"] == pytest.approx(accountant.get_epsilon(1e-4))
    assert both["pld"] < both["rdp"]


@pytest.mark.parametrize(
    ("rounds", "separation", "participations"),
    [(16, 16, 1), (16, 4, 4), (21, 5, 5), (40, 8, 5), (33, 11, 3), (30, 1, 4)],
)
def test_a_tree_without_restarts_never_costs_less_than_the_exact_maximum(
    rounds, separation, participations
):
    exact = tree_aggregation_accountant.compute_zcdp_single_tree(
        1.0, rounds, participations, separation - 1
    )
    bound = correlated.tree_squared_sensitivity(
        rounds, separation, participations
    )
    assert 2 * exact <= bound + 1e-9
    assert bound <= 1.35 * 2 * exact


def test_with_one_participation_the_tree_bound_is_exact():
    for rounds in (1, 2, 3, 8, 100):
        assert correlated.tree_squared_sensitivity(rounds, rounds, 1) == (
            math.floor(math.log2(rounds)) + 1
        )


def test_bands_cost_as_many_releases_as_there_are_participations():
    # Columns of unit norm that do not overlap.
    for rounds, participations in ((8, 1), (16, 2), (40, 5)):
        assert BANDED.squared_sensitivity(rounds) == pytest.approx(
            participations
        )
    assert 1 < BANDED.squared_sensitivity(9) < 2


def test_production_banded_factorization_of_1000_bands():
    # 2 participations at noise multiplier 8.35 with columns of unit norm;
    # published as rho = .0144.
    mechanism = correlated.BandedMatrixFactorization(
        **{**epochs(1000), "noise_multiplier": 8.35}, rounds=2000, bands=1000
    )
    assert mechanism.zcdp(2000) == pytest.approx(0.0144, rel=0.01)


def test_production_banded_factorization_at_separation_484():
    # Noise multiplier 1.411, 2,000 rounds, separation 484, 3 participations:
    # published as rho = .15. It can be rebuilt where that noise multiplier is
    # relative to the sensitivity to the 5 participations for which 2,000
    # rounds have room: relative to a column it is 1.411 sqrt(5).
    assert math.ceil(2000 / 484) == 5
    relative_to_column = 1.411 * math.sqrt(5)
    fields = epochs(484) | {"noise_multiplier": relative_to_column}
    mechanism = correlated.BandedMatrixFactorization(
        **fields, rounds=2000, bands=400
    )
    # Three participations: 2 * 484 + 400 rounds have room for three columns.
    assert mechanism.zcdp(2 * 484 + 400) == pytest.approx(0.15, rel=0.01)


@pytest.mark.parametrize("mechanism", [BANDED, BLT])
@pytest.mark.parametrize("round_num", [1, 2, 9, 40])
def test_noise_of_a_round_is_a_row_of_the_inverse(mechanism, round_num):
    column = mechanism.column
    column = column(60) if callable(column) else column
    row = np.linalg.inv(dense(column, 60))[round_num - 1]
    gain = np.linalg.norm(row)
    assert mechanism.noise_gain(round_num) == pytest.approx(gain)
    assert mechanism.noise_stddev(round_num) == pytest.approx(
        gain * 2.0 * 0.5 / 50
    )


def test_matrix_factorization_beats_fresh_noise_on_the_totals():
    # The same cost for each participation: the error of the last total.
    independent = math.sqrt(40)
    for mechanism in (BANDED, BLT):
        column = mechanism.column
        column = column(40) if callable(column) else column
        totals = np.tril(np.ones((40, 40))) @ np.linalg.inv(dense(column, 40))
        cost = math.sqrt(mechanism.squared_sensitivity(40) / 5)
        assert cost * np.linalg.norm(totals[-1]) < 0.75 * independent


def test_noise_on_releases_alone_pays_for_all_later_releases():
    # In round 1 of 8: in all 8 releases. Again in round 9 of 16: in 8 of them
    # twice, which is 4 to the square.
    for rounds, squared in ((1, 1), (8, 8), (16, 8 + 8 * 4)):
        assert RELEASE.squared_sensitivity(rounds) == pytest.approx(squared)
    assert RELEASE.stage == "release" and TREE.stage == "aggregation"
    with pytest.raises(UsageError, match="does not fit dp=release"):
        dataclasses.replace(RELEASE, participation=POISSON)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(participation=POISSON),
            "sampling=poisson does not fit dp=banded",
        ),
        (
            dict(participation=Participation("fixed_size", 1 / 8, 400)),
            "sampling=fixed_size does not fit dp=banded",
        ),
        (dict(bands=9), "dp.bands=9 must be between 1 and .* 8"),
        (dict(bands=0), "dp.bands=0"),
        (
            dict(participation=FULL),
            "dp.bands=8 must be between 1 and .* 1",
        ),
        (dict(noise_multiplier=0.0), "dp.noise_multiplier"),
    ],
)
def test_what_the_accounting_does_not_cover_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(BANDED, **change)


def test_other_refusals():
    with pytest.raises(
        UsageError, match="no epochs to restart .*dp.single_tree"
    ):
        dataclasses.replace(TREE, participation=FULL)
    with pytest.raises(UsageError, match="dp.buffers=0"):
        dataclasses.replace(BLT, buffers=0)
