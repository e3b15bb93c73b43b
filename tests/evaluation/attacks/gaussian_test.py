import numpy as np

from tests.evaluation.attacks.eager import flat, sent
from tff_cnn.evaluation.attacks.gaussian import build_gaussian

MINE = (np.full((100, 100), 7, np.float32), np.full(9_000, 7, np.float32))
ATTACK = build_gaussian(200.0).update


def of_seed(*seed):
    return flat(sent(ATTACK, [], [MINE], seed=np.array(seed, np.int64)))


def test_noise_has_the_deviation_and_nothing_of_the_update():
    found = of_seed(1, 2)
    # Of 19,000 numbers: five standard errors.
    assert abs(found.mean()) < 5 * 200 / 19_000**0.5
    assert abs(found.std() / 200 - 1) < 5 / (2 * 19_000) ** 0.5
    first, second = found[:9_000], found[10_000:]
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / 9_000**0.5


def test_noise_is_the_seeds():
    np.testing.assert_array_equal(of_seed(1, 2), of_seed(1, 2))
    for other in ((2, 2), (1, 3), (1 + 2**40, 2)):
        assert not np.any(of_seed(1, 2) == of_seed(*other))
