import numpy as np
import pytest

from tests.evaluation.attacks.eager import flat, sent, updates
from tests.reference import attacks as reference
from tff_cnn.evaluation.attacks.free_rider import build_free_rider

MINE = (np.ones((100, 100), np.float32),)


def test_a_plain_one_sends_nothing():
    attack = build_free_rider(0.0, 1.0).update
    found = sent(attack, updates(2), updates(1, 1))
    np.testing.assert_array_equal(flat(found), 0)


@pytest.mark.parametrize(("decay", "round_num"), [(1, 1), (1, 5), (0.5, 9)])
def test_a_disguise_decays(decay, round_num):
    attack = build_free_rider(0.1, decay).update
    found = flat(sent(attack, [], [MINE], round_num=round_num))
    first = flat(sent(attack, [], [MINE], round_num=1))
    expected = reference.free_rider_stddev(0.1, decay, round_num)
    np.testing.assert_allclose(found, first * expected / 0.1, rtol=1e-5)
    assert abs(first.std() / 0.1 - 1) < 5 / 20_000**0.5
