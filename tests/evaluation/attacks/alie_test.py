import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.attacks.eager import flat, sent, updates
from tests.reference import attacks as reference
from tff_cnn.core.update_attacks import Known
from tff_cnn.evaluation.attacks import alie


def z_max(num_clients, num_attackers):
    numbers = tf.constant([0.0, num_clients, num_attackers, 0.0])
    return float(alie.z_max(Known((), *tf.unstack(numbers))))


def test_z_is_the_papers():
    assert z_max(51, 12) == pytest.approx(reference.z_max(51, 12), abs=1e-6)
    assert z_max(50, 24) == pytest.approx(reference.z_max(50, 24), abs=1e-6)
    # Two of 26 honest ones have to be further away.
    assert z_max(50, 24) == pytest.approx(1.4261, abs=1e-4)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60))
def test_z_is_a_number_of_deviations_for_any_round(n, m):
    m = min(n, m)
    found = z_max(n, m)
    assert np.isfinite(found) and found >= 0
    if m < n // 2 + 1 and n - m > 1:
        assert found == pytest.approx(max(0, reference.z_max(n, m)), abs=1e-5)


def test_attackers_leave_their_mean_by_z_deviations():
    mine = updates(4)
    for z, num_honest in ((1.5, 3), (None, 6)):
        found = sent(alie.LittleIsEnough(z), updates(num_honest, 1), mine)
        expected_z = z or reference.z_max(10, 4)
        np.testing.assert_allclose(
            flat(found), reference.alie(flat(mine), expected_z), atol=1e-6
        )


def test_a_deviation_is_exact_where_it_is_small_beside_the_mean():
    small = updates(4, scale=1e-3)
    mine = [tuple(1 + x for x in update) for update in small]
    found = flat(sent(alie.LittleIsEnough(2.0), [], mine))
    expected = reference.alie(flat(mine), 2.0)
    np.testing.assert_allclose(found - 1, expected - 1, rtol=1e-3, atol=1e-6)


def test_one_attacker_alone_sends_what_it_has_trained():
    (mine,) = updates(1)
    for honest in ([], updates(9, 1)):
        found = sent(alie.build_alie(None).update, honest, [mine])
        np.testing.assert_array_equal(flat(found), flat(mine))
