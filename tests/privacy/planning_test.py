import math

import pytest

from tests.privacy.correlated_test import BANDED, TREE
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import planning
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation


def mechanism(noise=2.0, num_clients=1000):
    return FixedClipGaussian(
        0.3, noise, 100.0, Participation("poisson", 100 / num_clients)
    )


def test_signal_to_noise_by_hand():
    # A mean of norm C against 400 coordinates of deviation 2 C / 100.
    assert planning.signal_to_noise(mechanism(), 400) == pytest.approx(2.5)
    found = planning.plan(mechanism(), 25, 1e-4, 400, 1000)
    assert found.signal_to_noise == pytest.approx(2.5)
    # Signals add up as 25, independent noise as 5.
    assert found.total_signal_to_noise == pytest.approx(12.5)
    assert found.clients_for_signal == 400
    assert found.noise_multiplier == 2.0
    ledger = Ledger(mechanism(), 1e-4, 25)
    assert found.epsilon == ledger.epsilon()
    assert found.epsilon_rdp == ledger.statement()["epsilon_rdp"]


@pytest.mark.parametrize("correlated", [TREE, BANDED])
def test_correlation_trades_the_noise_of_a_round_for_that_of_the_sum(
    correlated,
):
    plain = planning.signal_to_noise(correlated, 400)
    found = planning.plan(correlated, 40, 1e-4, 400, 400)
    assert found.signal_to_noise == pytest.approx(
        plain / correlated.noise_gain(40)
    )
    assert found.signal_to_noise < plain
    assert found.total_signal_to_noise == pytest.approx(
        plain * 40 / correlated.total_noise_gain(40)
    )
    assert found.total_signal_to_noise > plain * math.sqrt(40)


def test_a_plan_for_an_epsilon_spends_it():
    found = planning.plan_epsilon(mechanism, 2.0, 50, 1e-4, 400, 1000)
    assert 1.99 < found.epsilon <= 2.0


def test_enough_clients_are_enough_and_one_less_is_not():
    def epsilon_of(num_clients):
        return 3000 / num_clients

    assert planning.clients_needed(epsilon_of, 2.0, 10) == 1500
    assert planning.clients_needed(epsilon_of, 300.0, 10) == 10
    assert planning.clients_needed(epsilon_of, 299.0, 10) == 11
    with pytest.raises(UsageError, match="epsilon 1 is out of reach"):
        planning.clients_needed(lambda n: 2.0, 1.0, 10)
