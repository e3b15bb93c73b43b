import math

import dp_accounting
import pytest
from dp_accounting import pld
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting
from tff_cnn.privacy.mechanism import FixedClipGaussian


def sampled(rate: float, noise: float) -> dp_accounting.DpEvent:
    return dp_accounting.PoissonSampledDpEvent(
        rate, dp_accounting.GaussianDpEvent(noise)
    )


@pytest.mark.parametrize(
    ("noise", "epochs", "published"),
    [(1.3, 15, 0.87), (1.1, 60, 2.39), (0.7, 45, 5.64)],
)
def test_published_dp_sgd_values(noise, epochs, published):
    # TensorFlow Privacy's MNIST tutorial by PLD: batch 256 of 60,000.
    rate = 256 / 60_000
    rounds = math.ceil(epochs / rate)
    assert accounting.epsilon(sampled(rate, noise), rounds, 1e-5) == (
        pytest.approx(published, abs=0.01)
    )


@pytest.mark.parametrize(
    ("sigma", "published"), [(4.22, 1.0), (1.54, 3.0), (0.541, 10.0)]
)
def test_published_gaussian_values(sigma, published):
    # Andrew et al. 2023, Table 1, at delta 1e-6; sigma has three digits.
    event = dp_accounting.GaussianDpEvent(sigma)
    assert accounting.epsilon(event, 1, 1e-6) == (
        pytest.approx(published, rel=0.005)
    )


def test_full_participation_is_the_analytic_gaussian():
    # n releases with noise z are one with noise z / sqrt(n).
    many = accounting.epsilon(sampled(1.0, 8.0), 16, 1e-5)
    once = accounting.epsilon(dp_accounting.GaussianDpEvent(2.0), 1, 1e-5)
    assert many == pytest.approx(once, rel=1e-3)


@pytest.mark.parametrize(
    ("rate", "noise", "rounds", "delta"),
    [
        (0.5, 1.9, 60, 300**-1.1),
        (0.01, 0.8, 2000, 1e-5),
        (0.1, 1.0, 500, 1e-5),
        (1.0, 30.0, 100, 1e-6),
    ],
)
def test_coarse_grid_overstates_by_less_than_a_thousandth(
    rate, noise, rounds, delta
):
    fine = pld.PLDAccountant(value_discretization_interval=1e-4)
    fine.compose(sampled(rate, noise), rounds)
    expected = fine.get_epsilon(delta)
    found = accounting.epsilon(sampled(rate, noise), rounds, delta)
    assert expected * (1 - 1e-5) <= found <= expected * 1.001


@settings(deadline=None, max_examples=15)
@given(
    rate=st.floats(0.05, 1.0),
    noise=st.floats(0.7, 5.0),
    rounds=st.integers(1, 50),
)
def test_invariants(rate, noise, rounds):
    epsilon = accounting.epsilon(sampled(rate, noise), rounds, 1e-4)
    assert epsilon >= 0
    slack = 1 + 1e-6
    more_noise = accounting.epsilon(sampled(rate, noise * 1.2), rounds, 1e-4)
    assert more_noise <= epsilon * slack
    more_rounds = accounting.epsilon(sampled(rate, noise), rounds + 1, 1e-4)
    assert more_rounds * slack >= epsilon
    everyone = accounting.epsilon(sampled(1.0, noise), rounds, 1e-4)
    assert everyone * slack >= epsilon


def test_no_rounds_cost_nothing():
    assert accounting.epsilon(sampled(0.5, 1.0), 0, 1e-5) == 0.0


def test_an_event_without_a_rule_raises():
    with pytest.raises(dp_accounting.UnsupportedEventError):
        accounting.epsilon(dp_accounting.UnsupportedDpEvent(), 1, 1e-5)


@pytest.mark.parametrize("delta", [0.0, -1e-3, 0.01, 0.5])
def test_a_delta_that_says_nothing_is_refused(delta):
    with pytest.raises(UsageError, match="--dp_delta"):
        accounting.check_delta(delta, 100)


def test_ledger_counts_rounds_and_states_the_guarantee_in_full():
    mechanism = FixedClipGaussian(0.3, 1.9, 150.0, "poisson", 0.5)
    ledger = accounting.Ledger(mechanism, 1e-3)
    spent = [ledger.spend_round() for _ in range(3)]
    assert spent == [
        accounting.epsilon(mechanism.round_event(), r, 1e-3) for r in (1, 2, 3)
    ]
    statement = ledger.statement()
    assert statement["epsilon"] == spent[-1]
    assert statement["rounds"] == 3
    assert statement["unit"] == "client"
    assert "add or remove one client" in statement["neighbouring_relation"]
    assert "Poisson with rate 0.5" in statement["sampling"]
    assert statement["mechanism"]["noise_multiplier"] == 1.9
    assert statement["delta"] == 1e-3


def test_changing_the_mechanism_moves_the_ledger():
    loud = FixedClipGaussian(0.3, 3.8, 150.0, "poisson", 0.5)
    quiet = FixedClipGaussian(0.3, 1.9, 150.0, "poisson", 0.5)
    assert (
        accounting.Ledger(loud, 1e-3, rounds=10).epsilon()
        < accounting.Ledger(quiet, 1e-3, rounds=10).epsilon()
    )
