"""Every sampler: sorted distinct ids, a pure function, its stated rate.

Where one draws candidates, a round's cohort is those of them that are chosen
by losses that are drawn for the round.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.config import RunConfig
from tff_cnn.core import registry
from tff_cnn.core.errors import UsageError
from tff_cnn.core.traits import KNOWN_COHORTS
from tff_cnn.privacy import STAGES
from tff_cnn.privacy.participation import Participation
from tff_cnn.selection import SAMPLERS

KNOWN = [e.name for e in SAMPLERS.entries if KNOWN_COHORTS in e.offers]
UNKNOWN = sorted({*SAMPLERS} - {*KNOWN})


def build(name: str, num_clients: int, clients_per_round: int):
    """With clients of equal size, where a sampler asks for that."""
    known = {"client_sizes": [7] * num_clients, "rounds": 10**6}
    builder = SAMPLERS.get(name)
    known = registry.asked_for(builder, known)
    return builder(num_clients, clients_per_round, **known)


def build_any(name: str, num_clients: int, clients_per_round: int):
    if name == "full":
        clients_per_round = num_clients
    return build(name, num_clients, clients_per_round)


def sample(sampler, round_num: int, seed: int) -> np.ndarray:
    drawn = sampler.sample(round_num, seed)
    if not hasattr(sampler, "narrowed"):
        return drawn
    rng = np.random.default_rng([round_num, seed])
    return sampler.narrowed(drawn, rng.random(len(drawn)))


@pytest.mark.parametrize("name", SAMPLERS)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_cohorts_are_sorted_distinct_ids(name, data):
    num_clients = data.draw(st.integers(1, 50))
    sampler = build_any(
        name, num_clients, data.draw(st.integers(1, num_clients))
    )
    round_num, seed = data.draw(
        st.tuples(st.integers(1, 10**6), st.integers(0, 10**6))
    )
    cohort = sample(sampler, round_num, seed)
    assert cohort.dtype == np.int64
    assert (np.diff(cohort) > 0).all()
    assert set(cohort) <= set(range(num_clients))
    np.testing.assert_array_equal(cohort, sample(sampler, round_num, seed))


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_client_takes_part_at_the_stated_rate(name):
    sampler = build_any(name, 10, 3)
    if sampler.rate is None:
        assert name in UNKNOWN
        pytest.skip("it is not the same for all clients")
    counts = np.zeros(10)
    for round_num in range(1, 3001):
        counts[sample(sampler, round_num, 0)] += 1
    # 5 standard deviations of a binomial share.
    slack = 5 * np.sqrt(sampler.rate * (1 - sampler.rate) / 3000)
    np.testing.assert_allclose(counts / 3000, sampler.rate, atol=slack)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_expected_cohort_is_the_mean_size(name):
    sampler = build_any(name, 10, 3)
    # Each round of a run of its own: what a seed draws for all is drawn anew.
    drawn = [len(sampler.sample(r, r)) for r in range(1, 3001)]
    sizes = [len(sample(sampler, r, r)) for r in range(1, 3001)]
    assert np.mean(drawn) == pytest.approx(
        sampler.expected_candidates, rel=0.05
    )
    assert np.mean(sizes) == pytest.approx(sampler.expected_cohort, rel=0.05)
    assert sampler.expected_cohort <= sampler.clients_per_round + 1e-9
    assert max(sizes) <= sampler.largest_cohort


@pytest.mark.parametrize("name", KNOWN)
def test_privacy_knows_what_the_sampler_justifies(name):
    sampler = build_any(name, 10, 3)
    participation = Participation.of(name, sampler)
    assert participation.statement()
    # What it says of a client's rounds is what the sampler does.
    rounds = 41
    counts = np.zeros(10)
    for round_num in range(1, rounds + 1):
        counts[sampler.sample(round_num, 5)] += 1
    assert counts.max() <= participation.max_participations(rounds)


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("choice", ["dp", "local_randomizer", "example_dp"])
def test_what_the_accountant_has_no_rule_for_is_refused_with_noise(
    name, choice
):
    registered = {stage.choice: stage.registry for stage in STAGES}[choice]
    noise = registered.entries[0].options(noise_multiplier=1.0)
    with pytest.raises(UsageError) as error:
        RunConfig(sampling=name, **{choice: noise}).resolved()
    text = str(error.value)
    assert f"sampling={name}" in text and f"{choice}=" in text
    assert "the accountant has no rule for" in text or "without noise" in text
    with pytest.raises(UsageError, match=f"sampling={name} has no privacy"):
        Participation.of(name, build_any(name, 10, 3))


@pytest.mark.parametrize("name", SAMPLERS)
def test_more_clients_a_round_than_clients_are_refused(name):
    with pytest.raises(UsageError, match="clients_per_round=6"):
        build(name, 5, 6)
    with pytest.raises(UsageError, match="clients_per_round=0"):
        build(name, 5, 0)
