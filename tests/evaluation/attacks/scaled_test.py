import numpy as np

from tests.evaluation.attacks.eager import flat, sent, updates
from tests.reference import attacks as reference
from tff_cnn.evaluation.attacks.scaled import build_scaled, build_sign_flip

(MINE,) = updates(1)


def test_signs_are_flipped():
    found = sent(build_sign_flip(3.0).update, updates(2, 1), [MINE])
    np.testing.assert_allclose(
        flat(found), reference.sign_flip(flat(MINE), 3.0), rtol=1e-6
    )


def test_so_many_times_the_update():
    found = sent(build_scaled(10.0).update, [], [MINE])
    np.testing.assert_allclose(flat(found), 10 * flat(MINE), rtol=1e-6)
    found = sent(build_scaled(1.0).update, [], [MINE])
    np.testing.assert_array_equal(flat(found), flat(MINE))
