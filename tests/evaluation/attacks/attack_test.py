import numpy as np

from tff_cnn.evaluation.attacks.attack import Attack, Element, real


def test_real_examples_are_those_of_steps():
    batches = np.array([[3, 0], [1, -1], [-2, -2]], np.int32)
    np.testing.assert_array_equal(real(Element(batches=batches)), [0, 1, 3])


def test_an_attack_is_in_all_rounds_unless_it_says_which():
    assert Attack().is_in(7)
    assert not Attack(rounds=[6]).is_in(7) and Attack(rounds=[7]).is_in(7)
