import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting, calibration
from tff_cnn.privacy.correlated import BandedMatrixFactorization
from tff_cnn.privacy.distributed import DistributedSkellam
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.privacy.local import ExampleDpSgd
from tff_cnn.privacy.mechanism import AdaptiveClipGaussian, FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.privacy.randomizers import LocalLaplace

EPOCHS = Participation("shuffled_epochs", 0.1, 300, 10, 10)
FIXED = Participation("fixed_size", 0.1, 300)
FULL = Participation("full", 1.0)


def half_of_300(noise):
    return FixedClipGaussian(0.3, noise, 150.0, Participation("poisson", 0.5))


@pytest.mark.parametrize("kind", [FixedClipGaussian, AdaptiveClipGaussian])
@pytest.mark.parametrize(
    ("epsilon", "rounds", "rate"), [(8.0, 60, 0.5), (1.0, 10, 1.0)]
)
def test_noise_is_enough_and_not_more(kind, epsilon, rounds, rate):
    sampling = "full" if rate == 1.0 else "poisson"

    def make(noise):
        return kind(0.3, noise, 150.0, Participation(sampling, rate))

    noise = calibration.noise_multiplier(make, epsilon, 1e-3, rounds)

    def spent(noise):
        return accounting.epsilon(make(noise).event_after(rounds), 1e-3)

    assert spent(noise) <= epsilon
    assert spent(noise * 0.999) > epsilon


def test_the_quick_trial_of_the_defaults():
    # 300 clients, Poisson 0.5, 60 rounds, noise 1.9 costs just below 8.
    noise = calibration.noise_multiplier(half_of_300, 8.0, 300**-1.1, 60)
    assert noise == pytest.approx(1.89, abs=0.02)


def test_impossible_targets_are_refused():
    with pytest.raises(UsageError, match="dp.epsilon=-1 must be positive"):
        calibration.noise_multiplier(half_of_300, -1.0, 1e-3, 60)


def test_noise_for_samplers_that_only_rdp_counts():
    def make(noise):
        return FixedClipGaussian(0.3, noise, 30.0, FIXED)

    noise = calibration.noise_multiplier(make, 2.0, 1e-3, 50)
    ledger = Ledger(make(noise), 1e-3, 50)
    assert 1.999 <= ledger.epsilon() <= 2.0


@pytest.mark.parametrize(
    ("make", "epsilon", "delta", "rounds"),
    [
        (half_of_300, 8.0, 300**-1.1, 60),
        (half_of_300, 0.05, 1e-6, 7),
        (half_of_300, 200.0, 1e-3, 9),
        (
            lambda z: FixedClipGaussian(
                0.3, z, 10.0, Participation("poisson", 0.01)
            ),
            0.5,
            1e-7,
            20,
        ),
        (lambda z: FixedClipGaussian(0.3, z, 9.0, FULL), 0.5, 1e-5, 40),
        (lambda z: FixedClipGaussian(0.3, z, 30.0, FIXED), 1.0, 1e-5, 20),
        (lambda z: FixedClipGaussian(0.3, z, 30.0, EPOCHS), 1.0, 1e-5, 20),
        (
            lambda z: BandedMatrixFactorization(
                0.3, z, 30.0, EPOCHS, rounds=20, bands=10
            ),
            2.0,
            1e-5,
            20,
        ),
        (
            lambda z: DistributedSkellam(
                0.3, z, 30.0, FIXED, num_parameters=100
            ),
            3.0,
            1e-5,
            12,
        ),
        (
            lambda z: ExampleDpSgd(
                1.0, z, 10, 1, (95, 100, 250), Participation("poisson", 0.5)
            ),
            3.0,
            1e-5,
            15,
        ),
        (
            lambda z: LocalLaplace(1.0, z, FULL),
            4.0,
            1e-5,
            6,
        ),
    ],
)
def test_the_ledger_allows_exactly_all_rounds(make, epsilon, delta, rounds):
    noise = calibration.noise_multiplier(make, epsilon, delta, rounds)
    ledger = Ledger(make(noise), delta, epsilon_limit=epsilon)
    spent = [ledger.spend_round() for _ in range(rounds)]
    assert spent == sorted(spent)
    assert 0.995 * epsilon < spent[-1] <= epsilon
    assert not ledger.allows_next_round()
