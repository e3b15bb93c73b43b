import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tff_cnn.privacy import composition
from tff_cnn.privacy.composition import LossDistribution

INTERVAL = 0.05


def response(p):
    """Randomized response: loss log(p / (1 - p)), on a grid of that."""
    loss = math.log(p / (1 - p))
    return LossDistribution(-1, np.array([1 - p, 0.0, p]), 0.0), loss


@pytest.mark.parametrize("rounds", [1, 3, 13, 400])
@pytest.mark.parametrize("delta", [1e-30, 1e-6, 1e-2, 0.3])
def test_randomized_response_is_binomial(rounds, delta):
    # Far below the machine's precision, too.
    part, interval = response(0.6)
    heads = np.arange(rounds + 1)
    losses = (2 * heads - rounds) * interval
    found = composition.epsilon([(part, rounds)], interval, delta)

    def exact(epsilon):
        excess = np.maximum(-np.expm1(epsilon - losses), 0)
        return stats.binom(rounds, 0.6).pmf(heads) @ excess

    assert exact(found) <= delta * (1 + 1e-9)
    assert found == 0 or exact(found - 1e-6) > delta


@pytest.mark.parametrize("delta", [1e-10, 1e-12])
def test_many_rounds_at_a_small_delta_need_the_tilt(delta):
    """Rounding of a plain transform is as large as this delta."""
    rounds = 40_000
    part, interval = response(0.502)
    heads = np.arange(rounds + 1)
    losses = (2 * heads - rounds) * interval
    found = composition.epsilon([(part, rounds)], interval, delta)
    log_masses = stats.binom(rounds, 0.502).logpmf(heads)

    def exact(epsilon):
        above = losses > epsilon
        excess = -np.expm1(epsilon - losses[above])
        return math.fsum(np.exp(log_masses[above]) * excess)

    assert exact(found) <= delta * (1 + 1e-6)
    assert exact(found * (1 - 1e-5)) > delta


@st.composite
def distributions(draw):
    """Of a random mechanism with a few outcomes, on the grid."""
    lowest = draw(st.integers(-30, 0))
    masses = draw(st.lists(st.integers(0, 9), min_size=2, max_size=40))
    masses = np.array([1, *masses, 1], dtype=float)
    infinite = draw(st.sampled_from([0.0, 1e-6, 1e-3]))
    return LossDistribution(
        lowest, masses / masses.sum() * (1 - infinite), infinite
    )


@settings(deadline=None, max_examples=60)
@given(
    one=distributions(),
    other=distributions(),
    times=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    delta=st.sampled_from([1e-9, 1e-4, 0.01, 0.3]),
)
def test_sums_are_convolutions(one, other, times, delta):
    lowest, masses, finite = 0, np.ones(1), 1.0
    for part, count in zip((one, other), times, strict=True):
        for _ in range(count):
            masses = np.convolve(masses, part.probabilities)
            lowest += part.lowest
            finite *= 1 - part.infinite
    losses = (lowest + np.arange(len(masses))) * INTERVAL

    def exact(epsilon):
        excess = np.maximum(-np.expm1(epsilon - losses), 0)
        return masses @ excess + 1 - finite

    found = composition.epsilon(
        list(zip((one, other), times, strict=True)), INTERVAL, delta
    )
    if found == math.inf:
        assert 1 - finite >= delta * (1 - 1e-6)
    else:
        assert exact(found) <= delta * (1 + 1e-7)
        assert found == 0 or exact(found - 1e-6) > delta * (1 - 1e-6)
