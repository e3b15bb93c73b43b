import math

import dp_accounting
import numpy as np
import pytest
from scipy import stats

from tff_cnn.privacy import accounting, events

REACH = 400


def renyi(first, second, order):
    """Of two distributions over the same integers."""
    both = (first > 1e-290) & (second > 1e-290)
    logs = order * np.log(first[both]) + (1 - order) * np.log(second[both])
    return np.logaddexp.reduce(logs) / (order - 1)


@pytest.mark.parametrize("order", [2, 3, 8, 20])
@pytest.mark.parametrize(("shift", "variance"), [(1, 8.0), (3, 50.0), (5, 9.0)])
def test_skellam_bound_is_above_the_truth_and_close(shift, variance, order):
    values = np.arange(-REACH, REACH)
    half = variance / 2
    truth = renyi(
        stats.skellam.pmf(values, half, half),
        stats.skellam.pmf(values - shift, half, half),
        order,
    )
    bound = events.SkellamDpEvent(shift, shift, variance).divergence(order)
    assert truth <= bound
    if order == 2:  # Tails, which the bound leaves out, matter less.
        gaussian = order * shift**2 / (2 * variance)
        assert 0.85 * gaussian < truth and bound < 1.4 * gaussian


def test_skellam_at_orders_between_integers_takes_the_next():
    event = events.SkellamDpEvent(1.0, 1.0, 8.0)
    assert event.divergence(2.5) == event.divergence(3)
    np.testing.assert_array_equal(
        event.divergences([2, 3]), [event.divergence(2), event.divergence(3)]
    )


def test_only_rdp_has_a_rule_and_it_composes():
    one = events.ConcentratedDpEvent(0.02)
    four = dp_accounting.SelfComposedDpEvent(one, 4)
    both = accounting.epsilons(four, 1e-5)
    assert both["pld"] is None
    assert both["rdp"] == pytest.approx(accounting.epsilon(four, 1e-5))
    # A Gaussian of noise z is 1 / (2 z^2)-zCDP.
    gaussian = dp_accounting.GaussianDpEvent(math.sqrt(1 / (2 * 0.08)))
    assert both["rdp"] == pytest.approx(
        accounting.epsilons(gaussian, 1e-5)["rdp"]
    )
