import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tff_cnn.core.errors import UsageError
from tff_cnn.selection import samplers


def test_poisson_draws_clients_independently():
    sampler = samplers.PoissonSampler(40, 10)
    sizes = [len(sampler.sample(r, 0)) for r in range(4000)]
    assert np.mean(sizes) == pytest.approx(10, abs=0.25)  # 5.8 sigma
    # Binomial(40, 1/4); a fixed size would have variance zero.
    assert np.var(sizes) == pytest.approx(7.5, rel=0.15)


def test_poisson_cohort_may_be_empty():
    sampler = samplers.PoissonSampler(2, 1)
    assert min(len(sampler.sample(r, 0)) for r in range(50)) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5000), st.floats(0, 1))
def test_a_poisson_cohort_is_larger_once_in_a_million_million(clients, share):
    sampler = samplers.PoissonSampler(clients, max(1, int(share * clients)))
    size, law = sampler.largest_cohort, stats.binom(clients, sampler.rate)
    assert sampler.clients_per_round <= size <= clients
    assert law.sf(size) <= 1e-12
    assert law.sf(size - 1) > 1e-12


def test_no_other_cohort_is_larger_than_what_was_asked_for():
    for kind in (samplers.FixedSizeSampler, samplers.ShuffledEpochs):
        sampler = kind(40, 7)
        sizes = [len(sampler.sample(r, 0)) for r in range(1, 30)]
        assert max(sizes) <= sampler.largest_cohort == 7


def test_fixed_size_is_fixed():
    sampler = samplers.FixedSizeSampler(40, 10)
    assert {len(sampler.sample(r, 0)) for r in range(100)} == {10}


def test_cohorts_of_a_known_size_are_expected_to_have_it():
    # Not the rate times the number of clients, which is 15.000000000000002 of
    # 103, and no integer for 36,663 of these 500,500 pairs.
    for clients in range(1, 1001):
        for cohort in range(1, clients + 1):
            for kind in (samplers.FixedSizeSampler, samplers.PoissonSampler):
                found = kind(clients, cohort).expected_cohort
                assert found == cohort and isinstance(found, float)
    for clients in range(1, 1001):
        found = samplers.ShuffledEpochs(clients, 1).expected_cohort
        assert found == 1
    assert samplers.ShuffledEpochs(10, 3).expected_cohort == 2.5


def test_full_participation_is_everyone_and_nothing_less():
    assert samplers.FullParticipation(4, 4).sample(1, 2).tolist() == [
        0,
        1,
        2,
        3,
    ]
    with pytest.raises(UsageError, match="full participation"):
        samplers.FullParticipation(4, 3)


def test_clients_in_turn_are_cohort_after_cohort():
    sampler = samplers.RoundRobin(5, 3)
    cohorts = [sampler.sample(r, r).tolist() for r in range(1, 7)]
    assert cohorts == [
        [0, 1, 2],
        [0, 3, 4],
        [1, 2, 3],
        [0, 1, 4],
        [2, 3, 4],
        [0, 1, 2],
    ]


def test_rounds_and_seeds_differ():
    sampler = samplers.PoissonSampler(1000, 500)
    cohorts = {tuple(sampler.sample(r, s)) for r in range(5) for s in range(5)}
    assert len(cohorts) == 25


def rounds_of_clients(sampler, epochs, seed=0):
    """Client -> the rounds, from 1, in which it takes part."""
    found = [[] for _ in range(sampler.num_clients)]
    for round_num in range(1, epochs * sampler.rounds_per_epoch + 1):
        for client in sampler.sample(round_num, seed):
            found[client].append(round_num)
    return np.array(found)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_shuffled_epochs_keep_their_separation(data):
    num_clients = data.draw(st.integers(1, 40))
    per_round = data.draw(st.integers(1, num_clients))
    epoch = samplers.ShuffledEpochs(num_clients, per_round).rounds_per_epoch
    separation = data.draw(st.integers(1, epoch))
    sampler = samplers.ShuffledEpochs(num_clients, per_round, separation)
    found = rounds_of_clients(sampler, 4, data.draw(st.integers(0, 99)))
    # Once in each epoch.
    np.testing.assert_array_equal(
        (found - 1) // epoch, np.tile(range(4), (num_clients, 1))
    )
    assert np.diff(found, axis=1).min() >= separation


def test_shuffled_epochs_shuffle_as_much_as_the_separation_leaves():
    gaps = {}
    for separation in (1, 7, 10):
        sampler = samplers.ShuffledEpochs(100, 10, separation)
        gaps[separation] = np.diff(rounds_of_clients(sampler, 30), axis=1)
    # All separations that are allowed do occur.
    assert set(np.unique(gaps[1])) == set(range(1, 20))
    assert set(np.unique(gaps[7])) == set(range(7, 14))
    assert set(np.unique(gaps[10])) == {10}


def test_a_separation_beyond_an_epoch_is_refused():
    with pytest.raises(
        UsageError, match="sampling.min_separation=11 .* epoch, 10"
    ):
        samplers.ShuffledEpochs(100, 10, 11)
    with pytest.raises(UsageError, match="sampling.min_separation=0"):
        samplers.ShuffledEpochs(100, 10, 0)
