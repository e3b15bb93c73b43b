"""What abandoned branches cost, against brute force."""

import dataclasses
import itertools

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.privacy.factorization_test import dense
from tff_cnn.privacy import correlated
from tff_cnn.privacy.distributed import DistributedSkellam
from tff_cnn.privacy.history import History
from tff_cnn.privacy.local import ExampleDpSgd
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.privacy.randomizers import LocalLaplace

COMMON = dict(clip_norm=0.5, noise_multiplier=2.0, expected_cohort=50.0)
HALF = Participation("fixed_size", 0.5, num_clients=100)
POISSON = FixedClipGaussian(
    **COMMON, participation=Participation("poisson", 0.5)
)
FULL = FixedClipGaussian(**COMMON, participation=Participation("full", 1.0))
FIXED = FixedClipGaussian(**COMMON, participation=HALF)
SKELLAM = DistributedSkellam(**COMMON, participation=HALF, num_parameters=16)
EXAMPLES = ExampleDpSgd(
    1.0, 1.1, 10, 1, (100, 105), Participation("poisson", 0.5)
)
UPDATES = LocalLaplace(1.0, 8.0, Participation("full", 1.0))
EPOCHS = dict(
    **COMMON,
    participation=Participation(
        "shuffled_epochs", 1 / 4, rounds_per_epoch=4, min_separation=3
    ),
)
ONE_BY_ONE = [POISSON, FULL, FIXED, SKELLAM, EXAMPLES, UPDATES]


@st.composite
def histories(draw, most=9):
    """Up to three branches."""
    branch = st.tuples(st.integers(1, most), st.integers(1, most)).map(sorted)
    branches = draw(st.lists(branch.map(tuple), max_size=3))
    return History(draw(st.integers(0, most)), tuple(branches))


@pytest.mark.parametrize("mechanism", ONE_BY_ONE)
@settings(deadline=None, max_examples=20)
@given(history=histories())
def test_rounds_of_their_own_cost_as_many_as_they_are(mechanism, history):
    number = history.rounds + sum(b - a + 1 for a, b in history.abandoned)
    assert history.released == number
    if number:
        assert history.events(mechanism) == mechanism.events_after(number)


@pytest.mark.parametrize(
    "mechanism", [*ONE_BY_ONE, correlated.TreeAggregation(**EPOCHS)]
)
def test_nothing_released_costs_nothing_and_no_branch_what_it_did(mechanism):
    free = dp_accounting.NoOpDpEvent()
    count = len(mechanism.events_after(1))
    assert History(0).events(mechanism) == (free,) * count
    assert History(7).events(mechanism) == mechanism.events_after(7)
    # A run that began anew has paid for what it had released.
    assert History(0, ((1, 7),)).events(mechanism) == mechanism.events_after(7)


def squared(event) -> float:
    """Squared sensitivity over noise deviation of composed Gaussians."""
    if isinstance(event, dp_accounting.ComposedDpEvent):
        return sum(map(squared, event.events))
    if isinstance(event, dp_accounting.SelfComposedDpEvent):
        return event.count * squared(event.event)
    return event.noise_multiplier**-2


def subsets(rounds: int, separation: int, per_epoch: int):
    """A client's rounds, from 0: apart, and at most one in each epoch."""
    for count in range(rounds + 1):
        for chosen in itertools.combinations(range(rounds), count):
            epochs = [t // per_epoch for t in chosen]
            if count < 2 or (
                min(np.diff(chosen)) >= separation and len(set(epochs)) == count
            ):
                yield np.isin(np.arange(rounds), chosen).astype(float)


def worst_joint(matrix, history: History, separation, per_epoch) -> float:
    """Most that a client moves all releases, squared, by trying all patterns.

    Each path from round 1 has a pattern of its own, equal before they part.
    """
    size = len(matrix)
    patterns = list(subsets(size, separation, per_epoch))
    main = max(
        (
            np.sum((matrix @ p)[: history.rounds] ** 2)
            + sum(
                max(
                    np.sum((matrix @ q)[first - 1 : last] ** 2)
                    for q in patterns
                    if (q[: first - 1] == p[: first - 1]).all()
                )
                for first, last in history.abandoned
            )
        )
        for p in patterns
    )
    return float(main)


def matrix_of(mechanism, rounds: int):
    """C."""
    if isinstance(mechanism, correlated.BandedMatrixFactorization):
        return dense(mechanism.column, rounds)
    if isinstance(mechanism, correlated.BltMatrixFactorization):
        return dense(mechanism.column(rounds), rounds)
    if isinstance(mechanism, correlated.ReleaseNoise):
        return dense(np.ones(rounds), rounds)
    return np.eye(rounds)


MATRICES = [
    FixedClipGaussian(**EPOCHS),
    correlated.BandedMatrixFactorization(**EPOCHS, rounds=8, bands=3),
    correlated.BltMatrixFactorization(**EPOCHS, rounds=8, buffers=2),
    correlated.ReleaseNoise(**EPOCHS),
]


@pytest.mark.parametrize("mechanism", MATRICES, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize(
    "history",
    [
        History(8, ((1, 8),)),
        History(8, ((4, 7),)),
        History(3, ((1, 2), (2, 6))),
        History(8, ((5, 5), (6, 8), (3, 7))),
        History(0, ((1, 6),)),
    ],
    ids=str,
)
def test_branches_never_move_more_than_is_counted(mechanism, history):
    (event,) = history.events(mechanism)
    exact = worst_joint(matrix_of(mechanism, 8), history, 3, 4) / 4
    counted = squared(event)
    assert exact <= counted * (1 + 1e-9)
    # Less would not be enough: what is not the same in both is paid once more.
    (alone,) = History(history.rounds).events(mechanism)
    if history.rounds:
        assert exact > squared(alone) * (1 + 1e-9)


@pytest.mark.parametrize("mechanism", MATRICES, ids=lambda m: type(m).__name__)
def test_where_nothing_is_shared_the_bound_is_attained(mechanism):
    # With rounds a whole epoch apart the mechanism's own bound is attained.
    apart = dataclasses.replace(EPOCHS["participation"], min_separation=4)
    mechanism = dataclasses.replace(mechanism, participation=apart)
    history = History(8, ((1, 8),))
    (event,) = history.events(mechanism)
    exact = worst_joint(matrix_of(mechanism, 8), history, 4, 4) / 4
    assert squared(event) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    ("branch", "participations"),
    [((1, 1), 1), ((4, 4), 1), ((4, 5), 2), ((5, 8), 1), ((5, 9), 2)],
)
def test_epochs_with_fresh_noise_cost_as_many_as_a_branch_touches(
    branch, participations
):
    mechanism = FixedClipGaussian(**EPOCHS)
    (event,) = History(8, (branch,)).events(mechanism)
    assert squared(event) == pytest.approx((2 + participations) / 4)


def test_metrics_of_branches_are_paid_for():
    mechanism = dataclasses.replace(MATRICES[1], metric_noise_multiplier=5.0)
    (event,) = History(8, ((3, 6),)).events(mechanism)
    (without,) = History(8, ((3, 6),)).events(MATRICES[1])
    # Two participations in eight rounds and two in six.
    assert squared(event) - squared(without) == pytest.approx(4 / 25)


@pytest.mark.parametrize(
    ("rounds", "abandoned"),
    [(-1, ()), (3, ((0, 2),)), (3, ((3, 2),)), (3, ((1, 2), (-1, -1)))],
)
def test_what_cannot_have_happened_is_refused(rounds, abandoned):
    with pytest.raises(ValueError, match="rounds with branches"):
        History(rounds, abandoned)


def test_it_is_a_key_also_when_it_comes_from_json():
    history = History(3, [[1, 2], [2, 2]])
    assert hash(history) == hash(History(3, ((1, 2), (2, 2))))
    assert (history.repeated, history.released) == (3, 6)
