import math

import dp_accounting
import pytest
from dp_accounting import rdp
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting, events
from tff_cnn.privacy.participation import Neighbours


def gaussian(noise: float) -> dp_accounting.DpEvent:
    return dp_accounting.GaussianDpEvent(noise)


def times(event, rounds: int) -> dp_accounting.DpEvent:
    return dp_accounting.SelfComposedDpEvent(event, rounds)


def sampled(rate: float, noise: float, rounds=1) -> dp_accounting.DpEvent:
    return times(
        dp_accounting.PoissonSampledDpEvent(rate, gaussian(noise)), rounds
    )


@pytest.mark.parametrize(
    ("noise", "epochs", "by_rdp", "by_pld"),
    [(1.3, 15, 0.95, 0.87), (1.1, 60, 2.60, 2.39), (0.7, 45, 6.32, 5.64)],
)
def test_published_dp_sgd_values(noise, epochs, by_rdp, by_pld):
    # TensorFlow Privacy's MNIST tutorial and Opacus: batch 256 of 60,000,
    # example level, Poisson, add or remove one, delta 1e-5. They round the
    # rounds differently; the difference is below a unit in the last digit.
    rate = 256 / 60_000
    event = sampled(rate, noise, math.ceil(epochs / rate))
    found = accounting.epsilons(event, 1e-5)
    assert found["pld"] == pytest.approx(by_pld, abs=0.01)
    assert found["rdp"] == pytest.approx(by_rdp, abs=0.015)


@pytest.mark.parametrize(
    ("sigma", "published"), [(4.22, 1.0), (1.54, 3.0), (0.541, 10.0)]
)
def test_published_gaussian_values(sigma, published):
    # Andrew et al. 2023, Table 1, at delta 1e-6; sigma has three digits.
    assert accounting.epsilon(gaussian(sigma), 1e-6) == (
        pytest.approx(published, rel=0.005)
    )


def test_full_participation_is_the_analytic_gaussian():
    # n releases with noise z are one with noise z / sqrt(n).
    many = accounting.epsilon(sampled(1.0, 8.0, 16), 1e-5)
    once = accounting.epsilon(gaussian(2.0), 1e-5)
    assert many == pytest.approx(once, rel=1e-3)


@pytest.mark.parametrize(
    ("noise", "rate", "rounds", "delta", "exact"),
    [
        # By the integration of tests/reference/privacy_loss.py.
        (20, 0.01, 1000, 1e-6, 0.055336),
        (4, 0.002, 5000, 1e-7, 0.152951),
        (1.9, 0.5, 60, 300**-1.1, 7.956255),
        (0.8, 0.01, 2000, 1e-5, 4.293436),
    ],
)
def test_epsilon_is_the_truth_to_a_thousandth(
    noise, rate, rounds, delta, exact
):
    found = accounting.epsilon(sampled(rate, noise, rounds), delta)
    assert exact * (1 - 1e-5) <= found <= exact * 1.001


def test_epsilon_is_the_smaller_of_both():
    # A thousand million rounds: too fine a grid for "pld".
    event = sampled(0.001, 100.0, 10**9)
    both = accounting.epsilons(event, 1e-6)
    assert both["rdp"] < 0.8 * both["pld"]
    assert accounting.epsilon(event, 1e-6) == both["rdp"]
    assert accounting.fast_epsilon(event, 1e-6) == both["pld"]
    event = sampled(0.1, 2.0, 10)
    both = accounting.epsilons(event, 1e-6)
    assert both["pld"] < both["rdp"]
    assert accounting.epsilon(event, 1e-6) == both["pld"]
    # No finite epsilon by "pld" alone.
    event = sampled(0.1, 2.0, 1000)
    assert accounting.epsilons(event, 1e-30)["pld"] == math.inf
    assert (
        accounting.fast_epsilon(event, 1e-30)
        == (accounting.epsilons(event, 1e-30)["rdp"])
    )


def test_hardly_any_privacy_loss_is_hardly_any_epsilon():
    # dp_accounting refuses divergences that rounding made negative.
    found = accounting.epsilons(sampled(1e-6, 1e4, 100), 1e-9)
    assert found["pld"] == 0 <= found["rdp"] < 0.02


def test_events_are_taken_apart():
    one = sampled(0.2, 3.0, 4)
    nested = dp_accounting.ComposedDpEvent(
        [times(one, 2), dp_accounting.NoOpDpEvent(), sampled(0.2, 3.0)]
    )
    flat = sampled(0.2, 3.0, 9)
    assert accounting.epsilon(nested, 1e-5) == accounting.epsilon(flat, 1e-5)
    # Everybody, drawn: no sampling.
    everyone = dp_accounting.SampledWithoutReplacementDpEvent(
        9, 9, gaussian(3.0)
    )
    assert accounting.epsilons(everyone, 1e-5, Neighbours.REPLACE_ONE) == (
        pytest.approx(accounting.epsilons(gaussian(3.0), 1e-5))
    )
    assert accounting.epsilon(dp_accounting.NoOpDpEvent(), 1e-5) == 0


SLACK = 1 + 1e-6


@settings(deadline=None, max_examples=4)
@given(
    rate=st.floats(0.05, 1.0),
    noise=st.floats(0.7, 5.0),
    rounds=st.integers(1, 50),
    name=st.sampled_from(["pld", "rdp"]),
)
def test_invariants(rate, noise, rounds, name):
    def spent(rate, noise, rounds):
        return accounting.epsilons(sampled(rate, noise, rounds), 1e-4)[name]

    epsilon = spent(rate, noise, rounds)
    assert epsilon >= 0
    # More noise never costs more, another round never less, and amplification
    # by sampling never hurts.
    assert spent(rate, noise * 1.2, rounds) <= epsilon * SLACK
    assert spent(rate, noise, rounds + 1) * SLACK >= epsilon
    assert spent(1.0, noise, rounds) * SLACK >= epsilon


@settings(deadline=None, max_examples=4)
@given(
    rate=st.floats(0.05, 1.0),
    noise=st.floats(0.7, 5.0),
    rounds=st.integers(2, 8),
    name=st.sampled_from(["pld", "rdp"]),
)
def test_composing_n_times_is_composing_n_copies(rate, noise, rounds, name):
    copies = dp_accounting.ComposedDpEvent([sampled(rate, noise)] * rounds)
    assert accounting.epsilons(copies, 1e-4)[name] == pytest.approx(
        accounting.epsilons(sampled(rate, noise, rounds), 1e-4)[name], rel=1e-3
    )


@settings(deadline=None, max_examples=4)
@given(
    num_clients=st.integers(2, 200),
    share=st.floats(0.01, 1.0),
    noise=st.floats(0.7, 5.0),
    rounds=st.integers(1, 20),
)
def test_sampling_without_replacement_never_hurts(
    num_clients, share, noise, rounds
):
    def spent(cohort):
        event = dp_accounting.SampledWithoutReplacementDpEvent(
            num_clients, cohort, gaussian(noise)
        )
        return accounting.epsilons(
            times(event, rounds), 1e-4, Neighbours.REPLACE_ONE
        )

    found = spent(max(1, int(share * num_clients)))
    unamplified = accounting.epsilons(times(gaussian(noise), rounds), 1e-4)
    assert found["rdp"] <= unamplified["rdp"] * SLACK
    assert found["pld"] <= unamplified["pld"] * 1.001


def test_where_the_bound_of_wang_et_al_is_loose_the_plain_one_is_used():
    event = dp_accounting.SampledWithoutReplacementDpEvent(3, 2, gaussian(1.0))
    loose = rdp.RdpAccountant(neighboring_relation=Neighbours.REPLACE_ONE)
    loose.compose(event, 5)
    plain = accounting.epsilons(times(gaussian(1.0), 5), 1e-4)["rdp"]
    assert plain < loose.get_epsilon(1e-4)

    def by_rdp(event):
        both = accounting.epsilons(
            times(event, 5), 1e-4, Neighbours.REPLACE_ONE
        )
        assert both["pld"] < both["rdp"]
        return both["rdp"]

    assert by_rdp(event) == pytest.approx(plain, rel=1e-6)
    # At a low rate theirs is the better one, and used as it is.
    event = dp_accounting.SampledWithoutReplacementDpEvent(90, 2, gaussian(1.0))
    tight = rdp.RdpAccountant(neighboring_relation=Neighbours.REPLACE_ONE)
    tight.compose(event, 5)
    assert by_rdp(event) == pytest.approx(tight.get_epsilon(1e-4), rel=1e-6)


def test_accountants_that_do_not_apply_say_nothing():
    event = events.ConcentratedDpEvent(0.1)
    found = accounting.epsilons(event, 1e-3, Neighbours.REPLACE_SPECIAL)
    assert found["pld"] is None and found["rdp"] > 0
    # The tightest that applies is used.
    for of in (accounting.epsilon, accounting.fast_epsilon):
        assert of(event, 1e-3, Neighbours.REPLACE_SPECIAL) == found["rdp"]
    assert (
        accounting.epsilon(gaussian(1.0), 1e-3)
        == (accounting.epsilons(gaussian(1.0), 1e-3)["pld"])
    )


@pytest.mark.parametrize(
    ("event", "neighbours"),
    [
        (dp_accounting.UnsupportedDpEvent(), Neighbours.ADD_OR_REMOVE_ONE),
        # Amplification holds under the relation that it was proved for.
        (sampled(0.5, 1.0), Neighbours.REPLACE_ONE),
        (
            dp_accounting.SampledWithoutReplacementDpEvent(9, 2, gaussian(1.0)),
            Neighbours.ADD_OR_REMOVE_ONE,
        ),
    ],
)
def test_an_event_without_a_rule_raises(event, neighbours):
    with pytest.raises(dp_accounting.UnsupportedEventError):
        accounting.epsilon(event, 1e-5, neighbours)


@pytest.mark.parametrize("delta", [0.0, -1e-3, 0.01, 0.5])
def test_a_delta_that_says_nothing_is_refused(delta):
    with pytest.raises(UsageError, match="dp.delta"):
        accounting.check_delta(delta, 100)
