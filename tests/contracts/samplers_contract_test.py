"""Every sampler: sorted distinct ids, a pure function, its stated rate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy.participation import Participation
from tff_cnn.selection import SAMPLERS


def build(name: str, num_clients: int, clients_per_round: int):
    if name == "full":
        clients_per_round = num_clients
    return SAMPLERS.get(name)(num_clients, clients_per_round)


@pytest.mark.parametrize("name", SAMPLERS)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_cohorts_are_sorted_distinct_ids(name, data):
    num_clients = data.draw(st.integers(1, 50))
    sampler = build(name, num_clients, data.draw(st.integers(1, num_clients)))
    round_num, seed = data.draw(
        st.tuples(st.integers(1, 10**6), st.integers(0, 10**6))
    )
    cohort = sampler.sample(round_num, seed)
    assert cohort.dtype == np.int64
    assert (np.diff(cohort) > 0).all()
    assert set(cohort) <= set(range(num_clients))
    np.testing.assert_array_equal(cohort, sampler.sample(round_num, seed))


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_client_takes_part_at_the_stated_rate(name):
    sampler = build(name, 10, 3)
    counts = np.zeros(10)
    for round_num in range(1, 3001):
        counts[sampler.sample(round_num, 0)] += 1
    # 5 standard deviations of a binomial share.
    slack = 5 * np.sqrt(sampler.rate * (1 - sampler.rate) / 3000)
    np.testing.assert_allclose(counts / 3000, sampler.rate, atol=slack)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_expected_cohort_is_the_mean_size(name):
    sampler = build(name, 10, 3)
    sizes = [len(sampler.sample(r, 0)) for r in range(1, 3001)]
    assert np.mean(sizes) == pytest.approx(sampler.expected_cohort, rel=0.05)
    assert sampler.expected_cohort <= sampler.clients_per_round + 1e-9


@pytest.mark.parametrize("name", SAMPLERS)
def test_privacy_knows_what_the_sampler_justifies(name):
    sampler = build(name, 10, 3)
    participation = Participation.of(name, sampler)
    assert participation.statement()
    # What it says of a client's rounds is what the sampler does.
    rounds = 41
    counts = np.zeros(10)
    for round_num in range(1, rounds + 1):
        counts[sampler.sample(round_num, 5)] += 1
    assert counts.max() <= participation.max_participations(rounds)


@pytest.mark.parametrize("name", SAMPLERS)
def test_more_clients_a_round_than_clients_are_refused(name):
    with pytest.raises(UsageError, match="clients_per_round=6"):
        SAMPLERS.get(name)(5, 6)
    with pytest.raises(UsageError, match="clients_per_round=0"):
        SAMPLERS.get(name)(5, 0)
