import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.selection.by_size import BySize, PowerOfChoice

SIZES = np.array([1, 2, 3, 4, 10, 0])


def test_clients_are_drawn_at_rates_proportional_to_their_size():
    sampler = BySize(6, 2, SIZES)
    counts = np.zeros(6)
    for round_num in range(1, 6001):
        cohort = sampler.sample(round_num, 0)
        assert len({*cohort}) == 2
        counts[cohort] += 1
    rates = 2 * SIZES / SIZES.sum()  # The fifth has half: in all cohorts.
    slack = 5 * np.sqrt(rates * (1 - rates) / 6000)
    assert (np.abs(counts / 6000 - rates) <= slack).all()
    assert counts[4] == 6000 and counts[5] == 0


def test_the_plain_mean_of_a_cohort_is_unbiased():
    """Of any numbers; weighted by examples it is not."""
    numbers = np.array([3.0, -1, 5, 0, 2, 99])
    sampler = BySize(6, 2, SIZES)
    cohorts = [sampler.sample(r, 1) for r in range(1, 6001)]
    plain = np.mean([numbers[c].mean() for c in cohorts])
    weighted = np.mean(
        [np.average(numbers[c], weights=SIZES[c]) for c in cohorts]
    )
    expected = np.average(numbers, weights=SIZES)
    assert plain == pytest.approx(expected, abs=0.05)
    assert weighted != pytest.approx(expected, abs=0.05)


@settings(deadline=None, max_examples=80)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=20).filter(any),
    per_round=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_no_client_is_drawn_twice_or_it_is_refused(sizes, per_round, seed):
    per_round = min(per_round, len(sizes))
    if max(sizes) * per_round > sum(sizes):
        with pytest.raises(UsageError, match="more than once a round"):
            BySize(len(sizes), per_round, sizes)
        return
    cohort = BySize(len(sizes), per_round, sizes).sample(3, seed)
    assert len({*cohort}) == per_round
    assert all(sizes[client] for client in cohort)


def test_a_client_too_large_is_named():
    with pytest.raises(UsageError) as error:
        BySize(6, 3, SIZES)
    assert str(error.value) == (
        "sampling=by_size with clients_per_round=3 would have to draw client 4 "
        "more than once a round, for it has 10 of 20 examples: use fewer "
        "clients a round or another sampling."
    )


@pytest.mark.parametrize("name", ["by_size", "power_of_choice"])
def test_sizes_count_once(name):
    assert RunConfig(sampling=name).resolved().client_weighting == "uniform"
    with pytest.raises(UsageError, match="would count that twice"):
        RunConfig(sampling=name, client_weighting="examples").resolved()


def test_candidates_are_drawn_by_size_and_without_replacement():
    sampler = PowerOfChoice(6, 1, SIZES, 2)
    counts = np.zeros(6)
    for round_num in range(1, 6001):
        drawn = sampler.sample(round_num, 0)
        assert len({*drawn}) == 2
        counts[drawn] += 1
    p = SIZES / SIZES.sum()
    # First, or second after any other.
    rates = p + [
        sum(p[j] * p[i] / (1 - p[j]) for j in range(6) if j != i)
        for i in range(6)
    ]
    slack = 5 * np.sqrt(rates * (1 - rates) / 6000)
    assert (np.abs(counts / 6000 - rates) <= slack).all()
    assert sampler.expected_candidates == 2 and sampler.expected_cohort == 1


def test_those_of_largest_loss_are_taken():
    sampler = PowerOfChoice(9, 3, np.ones(9), 6)
    candidates = np.array([1, 2, 4, 5, 7, 8])
    losses = np.array([0.5, 3, np.nan, 1, 1, np.inf])
    found = sampler.narrowed(candidates, losses)
    assert found.tolist() == [2, 5, 8] and found.dtype == np.int64
    # Where some have dropped out, those that are left.
    assert sampler.narrowed(candidates[2:4], losses[2:4]).tolist() == [4, 5]
    assert sampler.narrowed(candidates[:0], losses[:0]).tolist() == []


def test_how_many_candidates_there_are():
    assert PowerOfChoice(9, 3, np.ones(9)).candidates == 6
    assert PowerOfChoice(4, 3, np.ones(4)).candidates == 4
    few = PowerOfChoice(6, 3, [1, 0, 2, 0, 0, 0], 5)
    assert few.sample(1, 0).tolist() == [0, 2]
    assert few.expected_candidates == few.expected_cohort == 2
    for wrong in (2, 10):
        with pytest.raises(
            UsageError, match=f"candidates={wrong} must be between .* 9"
        ):
            PowerOfChoice(9, 3, np.ones(9), wrong)
