import dataclasses
import math

import dp_accounting
import pytest
from scipy import stats

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import LOCAL_RANDOMIZERS, calibration, randomizers
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.privacy.participation import Participation

FULL = Participation("full", 1.0)
EPOCHS = Participation("shuffled_epochs", 0.1, 20, 10, 10)
RANDOMIZERS = [
    LOCAL_RANDOMIZERS.get(name)(0.5, 4.0, FULL) for name in LOCAL_RANDOMIZERS
]


def epsilon(mechanism, rounds=1, delta=1e-5):
    return Ledger(mechanism, delta).epsilon_after(rounds)


def test_gaussian_epsilon_is_that_of_twice_the_clip():
    # The exact curve of Balle & Wang 2018, Theorem 8, at sensitivity 2 over
    # noise 4.
    mu = 0.5
    spent = epsilon(randomizers.LocalGaussian(0.5, 4.0, FULL))
    delta = stats.norm.cdf(mu / 2 - spent / mu) - math.exp(
        spent
    ) * stats.norm.cdf(-mu / 2 - spent / mu)
    assert delta == pytest.approx(1e-5, rel=0.02)


def test_laplace_epsilon_is_pure():
    # Sensitivity 2 over scale 4 is 0.5 a round; delta buys a little of it.
    mechanism = randomizers.LocalLaplace(0.5, 4.0, FULL)
    assert epsilon(mechanism, 1, 1e-9) == pytest.approx(0.5, rel=1e-3)
    assert epsilon(mechanism, 4, 1e-12) <= 2.0 * (1 + 1e-2)


@pytest.mark.parametrize("mechanism", RANDOMIZERS)
def test_one_description_moves_noise_and_event(mechanism):
    louder = dataclasses.replace(mechanism, noise_multiplier=8.0)
    assert louder.stddev == 2 * mechanism.stddev
    assert louder.one_release().noise_multiplier == 4.0
    assert epsilon(louder) < epsilon(mechanism)
    wider = dataclasses.replace(mechanism, clip_norm=1.0)
    # The noise follows the clip, so that the cost stays.
    assert wider.stddev == 2 * mechanism.stddev
    assert wider.one_release() == mechanism.one_release()


@pytest.mark.parametrize("mechanism", RANDOMIZERS)
def test_a_client_pays_for_each_round_that_it_can_be_in(mechanism):
    assert mechanism.events_after(12)[0].count == 12
    bounded = dataclasses.replace(mechanism, participation=EPOCHS)
    assert bounded.events_after(12)[0].count == 2
    assert epsilon(bounded, 12) == epsilon(mechanism, 2)
    # Secret cohorts are no help against the server.
    poisson = Participation("poisson", 0.01)
    sampled = dataclasses.replace(mechanism, participation=poisson)
    assert epsilon(sampled, 12) == epsilon(mechanism, 12)


@pytest.mark.parametrize("mechanism", RANDOMIZERS)
def test_the_ledger_says_what_the_guarantee_needs(mechanism):
    statement = Ledger(mechanism, 1e-5, rounds=3).statement()
    assert (statement["stage"], statement["unit"]) == (
        "client update",
        "client",
    )
    assert statement["adversary"].startswith("the server")
    assert "replace all data of one" in statement["neighbouring_relation"]
    assert "not amplified" in statement["sampling"]
    assert statement["epsilon"] == epsilon(mechanism, 3)
    assert statement["epsilon_rdp"] >= statement["epsilon_pld"]
    assert "post-processing" in statement["combination"]


@pytest.mark.parametrize("name", LOCAL_RANDOMIZERS)
def test_a_target_is_met_with_hardly_more_noise_than_needed(name):
    def make(noise):
        return LOCAL_RANDOMIZERS.get(name)(0.5, noise, FULL)

    noise = calibration.noise_multiplier(make, 6.0, 1e-5, 10)
    assert 5.95 < epsilon(make(noise), 10) <= 6.0
    with pytest.raises(UsageError, match="local_randomizer.epsilon=0"):
        calibration.noise_multiplier(make, 0.0, 1e-5, 10)


@pytest.mark.parametrize("field", ["clip_norm", "noise_multiplier"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_what_is_no_noise_is_refused(field, value):
    with pytest.raises(UsageError, match="local_randomizer."):
        dataclasses.replace(RANDOMIZERS[0], **{field: value})


def test_events_are_those_of_dp_accounting():
    gaussian, laplace = (m.one_release() for m in RANDOMIZERS)
    assert gaussian == dp_accounting.GaussianDpEvent(2.0)
    assert laplace == dp_accounting.LaplaceDpEvent(2.0)
