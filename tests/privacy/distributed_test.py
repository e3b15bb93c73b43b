import dataclasses
import math

import numpy as np
import pytest

from tests.privacy.events_test import renyi
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting, events
from tff_cnn.privacy.distributed import (
    DistributedDiscreteGaussian,
    DistributedSkellam,
)
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Neighbours, Participation
from tff_cnn.selection import samplers

KINDS = [DistributedDiscreteGaussian, DistributedSkellam]


def build(kind=DistributedSkellam, cohort=50, sampling="fixed_size", **changed):
    fields = dict(
        clip_norm=0.5,
        noise_multiplier=2.0,
        expected_cohort=float(cohort),
        participation=Participation(
            sampling, 1.0 if sampling == "full" else 0.5, 2 * cohort
        ),
        num_parameters=5450,
    )
    return kind(**{**fields, **changed})


@pytest.mark.parametrize("kind", KINDS)
def test_costs_a_little_more_than_central_noise_without_amplification(kind):
    ledger = Ledger(build(kind), 1e-3, 5)
    central = FixedClipGaussian(0.5, 2.0, 50.0, Participation("full", 1.0))
    by_rdp = accounting.epsilons(central.event_after(5), 1e-3)["rdp"]
    assert by_rdp < ledger.epsilon() < 1.1 * by_rdp
    # Few bits round coarsely, which costs.
    coarse = build(kind, bits=12)
    assert Ledger(coarse, 1e-3, 5).epsilon() > 1.2 * ledger.epsilon()


@pytest.mark.parametrize("kind", KINDS)
def test_every_cohort_has_its_size(kind):
    # Of these the rate times the number of clients is no integer.
    for clients in range(1, 1001, 9):
        cohorts = np.arange(1, clients + 1)
        for cohort in cohorts[cohorts / clients * clients != cohorts]:
            sampler = samplers.FixedSizeSampler(clients, int(cohort))
            mechanism = build(
                kind,
                expected_cohort=sampler.expected_cohort,
                participation=Participation.of("fixed_size", sampler),
            )
            assert mechanism.num_clients_a_round == cohort


@pytest.mark.parametrize("kind", KINDS)
def test_the_statement_fits_the_trust_model(kind):
    found = Ledger(build(kind), 1e-3, 5).statement()
    assert "secure aggregation" in found["adversary"]
    assert "zero out one client" in found["neighbouring_relation"]
    assert "exactly 50 clients" in found["sampling"]
    assert "not amplified" in found["sampling"]
    assert found["epsilon_pld"] is None and found["epsilon_rdp"] > 0
    assert build(kind).neighbours is Neighbours.REPLACE_SPECIAL


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"participation": Participation("poisson", 0.5)},
            "does not fit dp=distributed_",
        ),
        ({"bits": 30}, "dp.bits=30"),
        ({"bits": 4}, "dp.bits=4 is too small"),
        ({"metric_noise_multiplier": 5.0}, "dp.metrics does not go"),
    ],
)
def test_what_cannot_be_accounted_for_is_refused(kind, changed, message):
    with pytest.raises(UsageError, match=message):
        build(kind, **changed)


def test_norms_after_rounding_by_hand():
    mechanism = build(num_parameters=100, bits=16)
    assert mechanism.dimension == 128
    # Rounding moves each of 128 coordinates by less than 1.
    expected = 0.5 * mechanism.scale + math.sqrt(128)
    assert mechanism.scaled_l2 == pytest.approx(expected, rel=1e-4)
    rng = np.random.default_rng(0)
    for _ in range(20):
        vector = rng.normal(size=128)
        vector *= 0.5 * mechanism.scale / np.linalg.norm(vector)
        rounded = np.where(rng.random(128) < 0.5, np.floor, np.ceil)
        whole = [f(v) for f, v in zip(rounded, vector, strict=True)]
        assert np.linalg.norm(whole) <= mechanism.scaled_l2
        assert np.abs(whole).sum() <= mechanism.scaled_l1


def test_one_description_moves_noise_and_event():
    mechanism = build()
    louder = dataclasses.replace(mechanism, noise_multiplier=4.0)
    assert louder.noise_stddev() == pytest.approx(2 * mechanism.noise_stddev())
    assert (
        Ledger(louder, 1e-3, 5).epsilon() < Ledger(mechanism, 1e-3, 5).epsilon()
    )
    assert mechanism.noise_stddev() == pytest.approx(2.0 * 0.5 / 50)


@pytest.mark.parametrize("order", [2, 5, 20])
@pytest.mark.parametrize("sigma", [1.0, 2.0])
@pytest.mark.parametrize("clients", [2, 5])
def test_discrete_gaussian_bound_is_above_the_truth(clients, sigma, order):
    """On one coordinate, where the sum's distribution can be computed."""

    class Scalar(DistributedDiscreteGaussian):
        scaled_local_stddev = sigma
        scaled_l2 = 3.0
        dimension = 1

    mechanism = build(Scalar, clients, num_parameters=1)
    values = np.arange(-60, 61)
    one = np.exp(-(values**2) / (2 * sigma**2))
    one /= one.sum()
    total = one
    for _ in range(clients - 1):
        total = np.convolve(total, one)
    padded = np.pad(total, 3)
    truth = renyi(padded, np.roll(padded, 3), order)
    event = mechanism.one_round()
    assert isinstance(event, events.ConcentratedDpEvent)
    assert 0.9 * order * 9 / (2 * clients * sigma**2) < truth
    assert truth <= event.divergence(order) * (1 + 1e-9)
