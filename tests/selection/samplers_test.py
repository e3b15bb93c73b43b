import numpy as np
import pytest

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


def test_fixed_size_is_fixed():
    sampler = samplers.FixedSizeSampler(40, 10)
    assert {len(sampler.sample(r, 0)) for r in range(100)} == {10}


def test_full_participation_is_everyone_and_nothing_less():
    assert samplers.FullParticipation(4, 4).sample(1, 2).tolist() == [
        0,
        1,
        2,
        3,
    ]
    with pytest.raises(UsageError, match="full participation"):
        samplers.FullParticipation(4, 3)


def test_rounds_and_seeds_differ():
    sampler = samplers.PoissonSampler(1000, 500)
    cohorts = {tuple(sampler.sample(r, s)) for r in range(5) for s in range(5)}
    assert len(cohorts) == 25
