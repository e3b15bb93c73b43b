"""A configuration's numbers reach the mechanisms that have fields for them."""

import pytest

from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import (
    STAGES,
    Banded,
    Blt,
    DistributedSkellam,
    DpSgd,
    FixedClip,
    LocalLaplace,
)
from tff_cnn.privacy.correlated import (
    BandedMatrixFactorization,
    BltMatrixFactorization,
)
from tff_cnn.privacy.distributed import DistributedSkellam as Skellam
from tff_cnn.privacy.local import ExampleDpSgd
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.privacy.randomizers import LocalLaplace as Laplace
from tff_cnn.selection import Poisson, ShuffledEpochs
from tff_cnn.training import ledgers

SIZES = [7] * 10 + [12] * 10


def build(**changes):
    changes = {"num_clients": 20, "clients_per_round": 5, **changes}
    config = RunConfig(**changes).resolved()
    sampler = ledgers.build_sampler(config, 20)
    return ledgers.build_ledgers(config, sampler, SIZES, num_parameters=99)


def mechanism(choice, **changes):
    return build(**changes).of(choice).mechanism


EPOCHS = Participation("shuffled_epochs", 0.25, 20, 4, 4)
FIXED = Participation("fixed_size", 0.25, 20)


def test_without_noise_there_is_no_ledger():
    assert build() is None


def test_the_mechanism_of_aggregation():
    assert mechanism("dp", dp=FixedClip(0.5, 2.0)) == FixedClipGaussian(
        0.5, 2.0, 5.0, Participation("poisson", 0.25, 20)
    )
    released = FixedClip(0.5, 2.0, metrics=True)
    assert mechanism("dp", dp=released).metric_noise_multiplier == 0.5


def test_factorizations_know_the_rounds_and_the_separation():
    given = (0.3, 2.0, 5.0, EPOCHS)
    found = mechanism("dp", dp=Banded(noise_multiplier=2.0), rounds=9)
    assert found == BandedMatrixFactorization(*given, rounds=9, bands=4)
    found = mechanism("dp", dp=Banded(noise_multiplier=2.0), rounds=3)
    assert found.bands == 3
    found = mechanism("dp", dp=Banded(noise_multiplier=2.0, bands=2))
    assert found.bands == 2
    found = mechanism(
        "dp", dp=Banded(noise_multiplier=2.0), sampling="full", num_clients=20
    )
    assert found.bands == 1
    found = mechanism("dp", dp=Blt(noise_multiplier=2.0, buffers=2), rounds=9)
    assert found == BltMatrixFactorization(*given, rounds=9, buffers=2)


def test_distributed_noise_knows_the_size_of_the_model():
    found = mechanism("dp", dp=DistributedSkellam(noise_multiplier=2.0))
    assert found == Skellam(0.3, 2.0, 5.0, FIXED, num_parameters=99, bits=20)


def test_clients_randomize_by_how_often_they_take_part():
    found = mechanism(
        "local_randomizer", local_randomizer=LocalLaplace(0.4, 3.0)
    )
    assert found == Laplace(0.4, 3.0, FIXED)


def test_examples_are_drawn_into_lots():
    found = mechanism(
        "example_dp",
        example_dp=DpSgd(0.4, 3.0),
        batch_size=10,
        client_epochs=2,
        sampling=ShuffledEpochs(),
    )
    assert found == ExampleDpSgd(
        clip_norm=0.4,
        noise_multiplier=3.0,
        expected_lot=10,
        epochs=2,
        client_sizes=(7, 12),
        participation=EPOCHS,
    )


@pytest.mark.parametrize(
    ("choice", "units"),
    [("dp", 20), ("local_randomizer", 20), ("example_dp", sum(SIZES))],
)
def test_a_delta_follows_from_the_number_of_units(choice, units):
    stage = next(s for s in STAGES if s.choice == choice)
    kind = stage.registry.entries[0].options
    ledger = build(**{choice: kind(noise_multiplier=2.0)}).of(choice)
    assert ledger.delta == units**-1.1
    assert ledger.epsilon_limit is None
    given = build(
        **{choice: kind(noise_multiplier=2.0, epsilon=50.0, delta=1e-4)}
    ).of(choice)
    assert (given.delta, given.epsilon_limit) == (1e-4, 50.0)
    with pytest.raises(UsageError, match=f"{choice}.delta="):
        build(**{choice: kind(noise_multiplier=2.0, delta=1 / units)})


def test_all_stages_are_counted_in_their_order():
    found = build(
        dp=FixedClip(noise_multiplier=2.0),
        local_randomizer=LocalLaplace(noise_multiplier=9.0),
        example_dp=DpSgd(noise_multiplier=2.0),
    )
    assert [s.mechanism.choice for s in found.stages] == [
        stage.choice for stage in STAGES
    ]


def test_epsilon_finds_the_noise():
    found = build(dp=FixedClip(epsilon=3.0), rounds=4).of("dp")
    assert found.mechanism.noise_multiplier > 0.5
    for _ in range(4):
        found.spend_round()
    assert 2.9 < found.epsilon() <= 3.0


def test_samplers_get_their_options_and_all_clients_that_there_are():
    config = RunConfig(
        sampling=ShuffledEpochs(min_separation=2), clients_per_round=5
    ).resolved()
    assert ledgers.build_sampler(config, 20).min_separation == 2
    assert ledgers.build_sampler(config, 20).clients_per_round == 5
    full = RunConfig(sampling="full").resolved()
    assert ledgers.build_sampler(full, 80).clients_per_round == 80
    drawn = RunConfig(sampling=Poisson()).resolved()
    assert ledgers.build_sampler(drawn, 80).rate == 10 / 80
