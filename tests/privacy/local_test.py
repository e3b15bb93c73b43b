import dataclasses
import math

import dp_accounting
import pytest
from scipy import stats

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import LOCAL_RANDOMIZERS, local
from tff_cnn.privacy.ledger import describe
from tff_cnn.privacy.participation import Participation

FULL = Participation("full", 1.0)
EPOCHS = Participation("shuffled_epochs", 0.1, 20, 10, 10)
RANDOMIZERS = [
    LOCAL_RANDOMIZERS.get(name)(0.5, 4.0, FULL) for name in LOCAL_RANDOMIZERS
]


def epsilon(mechanism, rounds=1, delta=1e-5):
    return local.LocalLedger(mechanism, delta).epsilon_after(rounds)


def test_gaussian_epsilon_is_that_of_twice_the_clip():
    # The exact curve of Balle & Wang 2018, Theorem 8, at sensitivity 2 over
    # noise 4.
    mu = 0.5
    spent = epsilon(local.LocalGaussian(0.5, 4.0, FULL))
    delta = stats.norm.cdf(mu / 2 - spent / mu) - math.exp(
        spent
    ) * stats.norm.cdf(-mu / 2 - spent / mu)
    assert delta == pytest.approx(1e-5, rel=0.02)


def test_laplace_epsilon_is_pure():
    # Sensitivity 2 over scale 4 is 0.5 a round; delta buys a little of it.
    mechanism = local.LocalLaplace(0.5, 4.0, FULL)
    assert epsilon(mechanism, 1, 1e-9) == pytest.approx(0.5, rel=1e-3)
    assert epsilon(mechanism, 4, 1e-12) <= 2.0 * (1 + 1e-2)


@pytest.mark.parametrize("mechanism", RANDOMIZERS)
def test_one_description_moves_noise_and_event(mechanism):
    louder = dataclasses.replace(mechanism, noise_multiplier=8.0)
    assert louder.stddev == 2 * mechanism.stddev
    assert louder.one_release().noise_multiplier == 4.0
    assert epsilon(louder) < epsilon(mechanism)
    wider = dataclasses.replace(mechanism, clip=1.0)
    # The noise follows the clip, so that the cost stays.
    assert wider.stddev == 2 * mechanism.stddev
    assert wider.one_release() == mechanism.one_release()


@pytest.mark.parametrize("mechanism", RANDOMIZERS)
def test_a_client_pays_for_each_round_that_it_can_be_in(mechanism):
    assert mechanism.event_after(12).count == 12
    bounded = dataclasses.replace(mechanism, participation=EPOCHS)
    assert bounded.event_after(12).count == 2
    assert epsilon(bounded, 12) == epsilon(mechanism, 2)
    # Secret cohorts are no help against the server.
    poisson = Participation("poisson", 0.01)
    sampled = dataclasses.replace(mechanism, participation=poisson)
    assert epsilon(sampled, 12) == epsilon(mechanism, 12)


@pytest.mark.parametrize("mechanism", RANDOMIZERS)
def test_the_report_says_what_the_guarantee_needs(mechanism):
    report = local.LocalLedger(mechanism, 1e-5).report(3)
    assert (report.stage, report.unit) == ("client_update", "client")
    assert report.adversary.startswith("the server")
    assert "replace all data of one client" in report.neighbouring_relation
    assert "not amplified" in report.sampling and "3 of 3" in report.sampling
    assert report.epsilon == report.epsilon_pld == epsilon(mechanism, 3)
    assert report.epsilon_rdp >= report.epsilon_pld
    assert "post-processing" in report.combination
    assert local.LocalLedger(mechanism, 1e-5).report(0).epsilon == 0


@pytest.mark.parametrize("name", LOCAL_RANDOMIZERS)
def test_a_target_is_met_with_hardly_more_noise_than_needed(name):
    def make(noise):
        return LOCAL_RANDOMIZERS.get(name)(0.5, noise, FULL)

    noise = local.calibrate(make, 6.0, 1e-5, 10)
    assert 5.95 < epsilon(make(noise), 10) <= 6.0
    with pytest.raises(UsageError, match="--local_update_epsilon=0"):
        local.calibrate(make, 0.0, 1e-5, 10)


@pytest.mark.parametrize("mechanism", RANDOMIZERS)
def test_description_is_enough_to_build_it_again(mechanism):
    assert local.from_description(describe(mechanism)) == mechanism
    with pytest.raises(ValueError, match="no randomizer is called Other"):
        local.from_description({**describe(mechanism), "name": "Other"})


@pytest.mark.parametrize("field", ["clip", "noise_multiplier"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_what_is_no_noise_is_refused(field, value):
    with pytest.raises(UsageError, match="--local_update_"):
        dataclasses.replace(RANDOMIZERS[0], **{field: value})


def test_events_are_those_of_dp_accounting():
    gaussian, laplace = (m.one_release() for m in RANDOMIZERS)
    assert gaussian == dp_accounting.GaussianDpEvent(2.0)
    assert laplace == dp_accounting.LaplaceDpEvent(2.0)
