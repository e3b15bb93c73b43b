import dp_accounting
import numpy as np
import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.core.traits import KNOWN_COHORTS
from tff_cnn.privacy.participation import (
    NEIGHBOURS,
    Neighbours,
    Participation,
)
from tff_cnn.selection import SAMPLERS

POISSON = Participation("poisson", 0.5)
FULL = Participation("full", 1.0)
FIXED = Participation("fixed_size", 0.25, num_clients=40)
EPOCHS = Participation(
    "shuffled_epochs", 0.1, rounds_per_epoch=10, min_separation=7
)


def test_each_sampler_has_the_event_that_it_justifies():
    gaussian = dp_accounting.GaussianDpEvent(2.0)
    for participation, event, count, neighbours in [
        (
            POISSON,
            dp_accounting.PoissonSampledDpEvent(0.5, gaussian),
            21,
            Neighbours.ADD_OR_REMOVE_ONE,
        ),
        (FULL, gaussian, 21, Neighbours.ADD_OR_REMOVE_ONE),
        (
            # Replacing one client moves a sum by up to twice the clip norm.
            FIXED,
            dp_accounting.SampledWithoutReplacementDpEvent(
                40, 10, dp_accounting.GaussianDpEvent(1.0)
            ),
            21,
            Neighbours.REPLACE_ONE,
        ),
        # Three epochs have begun after 21 rounds.
        (EPOCHS, gaussian, 3, Neighbours.REPLACE_SPECIAL),
    ]:
        assert participation.independent_noise(2.0, 21) == (
            dp_accounting.SelfComposedDpEvent(event, count)
        )
        assert participation.neighbours == neighbours


def test_the_cohort_of_a_fixed_size_is_found_again():
    for clients in range(1, 1001):
        cohorts = np.arange(1, clients + 1)
        products = cohorts / clients * clients
        # All that rounding does wrong, and some that it does not.
        wrong = cohorts[products != cohorts]
        for cohort in [*wrong, 1, clients]:
            found = Participation("fixed_size", cohort / clients, clients)
            assert found.cohort == cohort and isinstance(found.cohort, int)
    assert Participation("fixed_size", 7 / 10**9, 10**9).cohort == 7


def test_a_fixed_size_is_a_whole_number_of_clients():
    with pytest.raises(ValueError, match="1.5 of 3 clients"):
        Participation("fixed_size", 0.5, 3)


def test_what_a_sampler_says_of_its_cohorts_is_known_here():
    known = {p.sampling for p in (POISSON, FULL, FIXED, EPOCHS)}
    for entry in SAMPLERS.entries:
        assert (entry.name in known) == (KNOWN_COHORTS in entry.offers)
        if entry.name not in known:
            with pytest.raises(UsageError, match="has no privacy accounting"):
                Participation(entry.name, 0.1, 100)


@pytest.mark.parametrize(
    ("rounds", "expected"), [(1, 1), (10, 1), (11, 2), (20, 2), (21, 3)]
)
def test_a_client_takes_part_once_an_epoch(rounds, expected):
    assert EPOCHS.max_participations(rounds) == expected
    assert POISSON.max_participations(rounds) == rounds


def test_separations():
    assert EPOCHS.fixed_separation("tree") == 7
    assert FULL.fixed_separation("tree") == 1
    for participation in (POISSON, FIXED):
        with pytest.raises(
            UsageError,
            match=f"sampling={participation.sampling} does not fit "
            "dp=tree: .*correlated.*use sampling=shuffled_epochs",
        ):
            participation.fixed_separation("tree")


def test_statements_name_what_is_assumed():
    assert "Poisson with rate 0.5" in POISSON.statement()
    assert "10 of 40" in FIXED.statement()
    assert "without replacement" in FIXED.statement()
    assert "every client in every round" in FULL.statement()
    assert "10 rounds" in EPOCHS.statement()
    assert "at least 7 rounds apart" in EPOCHS.statement()
    assert "no amplification" in EPOCHS.statement()
    assert set(NEIGHBOURS) == set(Neighbours)


def test_what_is_unknown_is_refused():
    with pytest.raises(UsageError, match="importance has no privacy account"):
        Participation("importance", 0.5)


@pytest.mark.parametrize(
    "fields",
    [
        ("poisson", 0.0),
        ("poisson", 1.1),
        ("full", 0.5),
        ("fixed_size", 0.5),
        ("shuffled_epochs", 0.1),
        ("shuffled_epochs", 0.1, None, 10, 11),
        ("shuffled_epochs", 0.1, None, 10, 0),
    ],
)
def test_what_cannot_be_raises(fields):
    with pytest.raises(ValueError):
        Participation(*fields)
