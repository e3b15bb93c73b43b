import math

import numpy as np
import pytest
from scipy import integrate, stats

from tff_cnn.privacy import accounting, auditing

DELTA = 1e-6
# Noise -> epsilon at DELTA, as in Andrew et al. 2023.
PUBLISHED = {4.22: 1.0, 1.54: 3.0, 0.541: 10.0}


def mechanism_cosines(num_canaries, dimension, noises, seed):
    """Cosines with a sum of canaries plus noise: {noise: [num_canaries]}.

    Distributed exactly as if all vectors were drawn, but in the basis that
    Gram-Schmidt makes of the canaries: there canary i has i normal coordinates
    and a chi (Bartlett's decomposition), and only the noise leaves their span.
    """
    rng = np.random.default_rng(seed)
    shape = (num_canaries, num_canaries)
    canaries = np.tril(rng.standard_normal(shape, np.float32), -1)
    freedom = dimension - np.arange(num_canaries)
    np.fill_diagonal(canaries, np.sqrt(rng.chisquare(freedom)))
    canaries /= np.linalg.norm(canaries, axis=1, keepdims=True)
    noise = rng.standard_normal(num_canaries)
    outside = rng.chisquare(dimension - num_canaries)
    found = {}
    for stddev in noises:
        inside = canaries.sum(axis=0) + stddev * noise
        norm = np.sqrt(inside @ inside + stddev**2 * outside)
        found[stddev] = canaries @ inside / norm
    return found


def test_directions_are_unit_vectors_of_their_own():
    one, other = (auditing.direction(0, c, 2000) for c in (0, 1))
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-6)
    assert abs(one @ other) < 5 / math.sqrt(2000)
    np.testing.assert_array_equal(one, auditing.direction(0, 0, 2000))
    assert not np.array_equal(one, auditing.direction(1, 0, 2000))


def test_cosines_of_known_vectors():
    one, other = (auditing.direction(0, c, 2000) for c in (0, 1))
    found = auditing.cosines(0, range(2), 3 * one)
    np.testing.assert_allclose(found, [1, one @ other], atol=1e-6)
    found = auditing.cosines(0, range(3), np.zeros(2000))
    np.testing.assert_array_equal(found, np.zeros(3))


def test_cosines_without_taking_part_follow_the_null_distribution():
    dimension = 1000
    released = np.random.default_rng(1).normal(size=dimension)
    found = auditing.cosines(0, range(400), released) * math.sqrt(dimension)
    assert stats.kstest(found, "norm").pvalue > 0.01


@pytest.mark.parametrize(
    ("mean", "stddev", "delta"),
    [(0.5, 1.0, 1e-5), (0.7, 1.3, 1e-4), (1.0, 0.8, 1e-3), (0.0, 2.0, 1e-2)],
)
def test_two_gaussians_as_by_integration(mean, stddev, delta):
    epsilon = auditing.epsilon_of_two_gaussians(0.0, 1.0, mean, stddev, delta)
    null, seen = stats.norm(0, 1), stats.norm(mean, stddev)

    def divergence(p, q):
        x = np.linspace(-25, 25, 400_001)
        return integrate.simpson(
            np.maximum(p.pdf(x) - math.exp(epsilon) * q.pdf(x), 0), x
        )

    worst = max(divergence(null, seen), divergence(seen, null))
    assert epsilon > 0
    assert worst == pytest.approx(delta, rel=1e-3)


def test_two_gaussians_do_not_depend_on_units():
    epsilon = auditing.epsilon_of_two_gaussians(0.0, 1.0, 0.7, 1.3, DELTA)
    scaled = auditing.epsilon_of_two_gaussians(2.0, 0.1, 2.07, 0.13, DELTA)
    assert scaled == pytest.approx(epsilon, rel=1e-6)


def test_two_gaussians_at_the_limits():
    def epsilon(mean):
        return auditing.epsilon_of_two_gaussians(0.0, 1.0, mean, 1.0, DELTA)

    assert epsilon(0.0) == 0.0
    assert epsilon(1e-7) == 0.0  # Their total variation is below delta.
    assert epsilon(100.0) == math.inf


@pytest.mark.parametrize(("noise", "expected"), PUBLISHED.items())
def test_two_gaussians_are_the_gaussian_mechanism(noise, expected):
    import dp_accounting

    found = auditing.epsilon_of_two_gaussians(0.0, 1.0, 1 / noise, 1.0, DELTA)
    assert found == pytest.approx(expected, rel=3e-3)
    event = dp_accounting.GaussianDpEvent(noise)
    assert found == pytest.approx(accounting.epsilon(event, DELTA), rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_gaussian_mechanism_is_estimated_within_a_tenth(seed):
    found = mechanism_cosines(10_000, 10**6, PUBLISHED, seed)
    for noise, expected in PUBLISHED.items():
        estimate = auditing.estimate_epsilon(found[noise], 10**6, DELTA)
        assert estimate.epsilon == pytest.approx(expected, rel=0.1)
        low, high = estimate.interval
        assert low < estimate.epsilon < high
        # Canaries hide one another: a little less is found than there is.
        assert low < expected < 1.03 * high


def test_a_thousand_canaries_are_right_on_average_and_within_intervals():
    found = [
        mechanism_cosines(1000, 10**6, PUBLISHED, seed) for seed in range(20)
    ]
    for noise, expected in PUBLISHED.items():
        estimates = [
            auditing.estimate_epsilon(cosines[noise], 10**6, DELTA)
            for cosines in found
        ]
        mean = np.mean([e.epsilon for e in estimates])
        assert mean == pytest.approx(expected, rel=0.1)
        covered = [e.interval[0] < expected < e.interval[1] for e in estimates]
        assert np.mean(covered) > 0.85


def test_vectors_as_they_are_give_what_their_basis_gives():
    dimension, count = 250_000, 500
    total = np.zeros(dimension, np.float32)
    for canary in range(count):
        total += auditing.direction(0, canary, dimension)
    rng = np.random.default_rng(0)
    total += 0.541 * rng.standard_normal(dimension, np.float32)
    cosines = auditing.cosines(0, range(count), total)
    estimate = auditing.estimate_epsilon(cosines, dimension, DELTA)
    assert estimate.epsilon == pytest.approx(10.0, rel=0.1)


@pytest.mark.parametrize(("noise", "accounted"), PUBLISHED.items())
def test_noise_that_is_secretly_halved_is_caught(noise, accounted):
    for seed in range(5):
        found = mechanism_cosines(1000, 10**6, [noise / 2], seed)[noise / 2]
        estimate = auditing.estimate_epsilon(found, 10**6, DELTA)
        assert estimate.interval[0] > accounted


def test_a_spread_of_its_own_is_seen():
    """Canaries of which half took part are a mixture, wider than the null."""
    rng = np.random.default_rng(0)
    shift = 2.0 * rng.integers(0, 2, 2000)
    cosines = (rng.normal(size=2000) + shift) / math.sqrt(10**6)
    estimate = auditing.estimate_epsilon(cosines, 10**6, DELTA)
    expected = auditing.epsilon_of_two_gaussians(
        0.0, 1.0, 1.0, math.sqrt(2), DELTA
    )
    assert estimate.epsilon == pytest.approx(expected, rel=0.1)
    assert estimate.interval[0] < estimate.epsilon < estimate.interval[1]
    assert "bootstrap" in estimate.method


def test_moving_away_from_canaries_is_no_evidence():
    rng = np.random.default_rng(0)
    cosines = (rng.normal(size=500) - 3.0) / math.sqrt(10**4)
    assert auditing.estimate_epsilon(cosines, 10**4, DELTA).epsilon == 0.0


def test_maxima_compare_with_canaries_that_took_no_part():
    rng = np.random.default_rng(0)
    rounds = rng.normal(size=(20, 4000)) / 100
    rounds[7, :2000] += 0.03  # Three standard deviations, in one round.
    largest = rounds.max(axis=0)
    found = auditing.estimate_epsilon_of_maxima(
        largest[:2000], largest[2000:], 10**4, 1e-3
    )
    nothing = auditing.estimate_epsilon_of_maxima(
        largest[2000:3000], largest[3000:], 10**4, 1e-3
    )
    # One Gaussian release in which the canaries show by three deviations.
    limit = auditing.epsilon_of_two_gaussians(0.0, 1.0, 3.0, 1.0, 1e-3)
    assert 0.5 * limit < found.interval[0] < found.epsilon < limit
    assert nothing.interval[0] == 0.0
    assert nothing.epsilon < 0.3


def test_too_few_of_anything():
    with pytest.raises(ValueError, match="canaries are too few"):
        auditing.estimate_epsilon(np.zeros(9), 10**4, DELTA)
    with pytest.raises(ValueError, match="1000 dimensions"):
        auditing.estimate_epsilon(np.zeros(10), 999, DELTA)
    with pytest.raises(ValueError, match="canaries are too few"):
        auditing.estimate_epsilon_of_maxima(
            np.zeros(10), np.zeros(9), 10**4, DELTA
        )


def test_an_exchange_is_two_steps():
    assert auditing.exchanged(0.0, 1e-3) == (0.0, 2e-3)
    epsilon, delta = auditing.exchanged(1.0, 1e-3)
    assert (epsilon, delta) == (2.0, pytest.approx(1e-3 * (1 + math.e)))
    assert auditing.exchanged(1e4, 1e-3) == (2e4, 1.0)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 0.0), (2.0, 1e-2)])
def test_bounds_of_membership(epsilon, delta):
    fpr = np.linspace(0, 1, 200_001)
    tpr = auditing.tpr_bound(fpr, epsilon, delta)
    assert tpr[0] == pytest.approx(delta)
    assert tpr[-1] == 1.0
    advantage = auditing.advantage_bound(epsilon, delta)
    expected = (math.exp(epsilon) - 1 + 2 * delta) / (math.exp(epsilon) + 1)
    assert advantage == pytest.approx(expected)
    assert (tpr - fpr).max() == pytest.approx(advantage, abs=1e-4)
    area = auditing.auc_bound(epsilon, delta)
    assert area == pytest.approx(np.trapz(tpr, fpr), abs=1e-6)


def test_bounds_of_membership_at_the_limits():
    assert auditing.advantage_bound(0.0, 0.0) == 0.0
    assert auditing.auc_bound(0.0, 0.0) == pytest.approx(0.5)
    assert auditing.advantage_bound(1e4, 1e-5) == pytest.approx(1.0)
    assert auditing.auc_bound(1e4, 1e-5) == pytest.approx(1.0)
    np.testing.assert_array_equal(
        auditing.tpr_bound([0.0, 0.5], 1e4, 0.1), [0.1, 1.0]
    )


def test_the_gaussian_mechanism_stays_within_its_bounds():
    """The best attack on it, against the epsilon that it has."""
    noise, epsilon = 1.54, 3.01
    threshold = np.linspace(-6, 7, 1000)
    fpr, tpr = (stats.norm.sf(threshold, loc=m) for m in (0, 1 / noise))
    assert (tpr <= auditing.tpr_bound(fpr, epsilon, DELTA) + 1e-12).all()
