import math

import dp_accounting
import pytest
from dp_accounting import pld, rdp
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting
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
    fine.compose(sampled(rate, noise, rounds))
    expected = fine.get_epsilon(delta)
    found = accounting.epsilon(sampled(rate, noise, rounds), delta)
    assert expected * (1 - 1e-5) <= found <= expected * 1.001


SLACK = 1 + 1e-6


@settings(deadline=None, max_examples=8)
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


@settings(deadline=None, max_examples=8)
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


@settings(deadline=None, max_examples=8)
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
        return accounting.epsilon(
            times(event, rounds), 1e-4, Neighbours.REPLACE_ONE
        )

    cohort = max(1, int(share * num_clients))
    unamplified = accounting.epsilons(times(gaussian(noise), rounds), 1e-4)
    assert spent(cohort) <= unamplified["rdp"] * SLACK


def test_where_the_bound_of_wang_et_al_is_loose_the_plain_one_is_used():
    event = dp_accounting.SampledWithoutReplacementDpEvent(3, 2, gaussian(1.0))
    loose = rdp.RdpAccountant(neighboring_relation=Neighbours.REPLACE_ONE)
    loose.compose(event, 5)
    plain = accounting.epsilons(times(gaussian(1.0), 5), 1e-4)["rdp"]
    assert plain < loose.get_epsilon(1e-4)
    assert accounting.epsilon(
        times(event, 5), 1e-4, Neighbours.REPLACE_ONE
    ) == pytest.approx(plain, rel=1e-6)
    # At a low rate theirs is the better one, and used as it is.
    event = dp_accounting.SampledWithoutReplacementDpEvent(90, 2, gaussian(1.0))
    tight = rdp.RdpAccountant(neighboring_relation=Neighbours.REPLACE_ONE)
    tight.compose(event, 5)
    assert accounting.epsilon(
        times(event, 5), 1e-4, Neighbours.REPLACE_ONE
    ) == pytest.approx(tight.get_epsilon(1e-4), rel=1e-6)


def test_accountants_that_do_not_apply_say_nothing():
    event = dp_accounting.SampledWithoutReplacementDpEvent(10, 2, gaussian(1.0))
    found = accounting.epsilons(event, 1e-3, Neighbours.REPLACE_ONE)
    assert found["pld"] is None and found["rdp"] > 0
    # The tightest that applies is used.
    assert (
        accounting.epsilon(event, 1e-3, Neighbours.REPLACE_ONE)
        == (found["rdp"])
    )
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
    with pytest.raises(UsageError, match="--dp_delta"):
        accounting.check_delta(delta, 100)
