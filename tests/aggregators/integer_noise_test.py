import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tff_cnn.aggregators import integer_noise

SEED = tf.constant([2**62 + 5, -(2**61) + 3], tf.int64)
SIZE = 40_000
SHAPE = tf.TensorShape([200, 200])


def discrete_gaussian(values, stddev):
    weights = np.exp(-(np.arange(-200, 201) ** 2) / (2 * stddev**2))
    return np.exp(-(values**2) / (2 * stddev**2)) / weights.sum()


def skellam(values, stddev):
    return stats.skellam.pmf(values, stddev**2 / 2, stddev**2 / 2)


SAMPLERS = [
    (integer_noise.discrete_gaussian, discrete_gaussian),
    (integer_noise.skellam, skellam),
]


@pytest.mark.parametrize(("draw", "probability"), SAMPLERS)
@pytest.mark.parametrize("stddev", [1.0, 3.0, 20.0])
def test_frequencies_are_the_probabilities(draw, probability, stddev):
    drawn = draw(SHAPE, tf.constant(stddev), SEED, 0).numpy()
    assert drawn.shape == (200, 200) and drawn.dtype == np.int64
    values = np.arange(-int(4 * stddev), int(4 * stddev) + 1)
    observed = np.array([(drawn == value).sum() for value in values])
    expected = SIZE * probability(values, stddev)
    common = expected > 10
    statistic = ((observed - expected) ** 2 / expected)[common].sum()
    # Fails by chance with probability 1e-5 each, but seeds are fixed.
    assert statistic < stats.chi2.isf(1e-5, common.sum())
    assert abs(observed.sum() - expected.sum()) < 5 * expected.sum() ** 0.5


@pytest.mark.parametrize(("draw", "_"), SAMPLERS)
def test_noise_is_a_function_of_seed_and_leaf(draw, _):
    def noise(seed, index):
        shape = tf.TensorShape([2000])
        return draw(shape, tf.constant(30.0), seed, index).numpy()

    first = noise(SEED, 0)
    np.testing.assert_array_equal(first, noise(SEED, 0))
    others = [noise(SEED, 1)]
    for change in ([0, 2**40], [2**40, 0]):
        others.append(noise(SEED + tf.constant(change, tf.int64), 0))
    correlations = np.corrcoef([first, *others]) - np.eye(4)
    assert np.abs(correlations).max() < 0.12  # 5.4 standard deviations.


@pytest.mark.parametrize("size", [1, 7, 1000, 1001])
def test_any_number_is_drawn(size):
    shape = tf.TensorShape([size])
    drawn = integer_noise.discrete_gaussian(shape, 5.0, SEED, 0).numpy()
    assert drawn.shape == (size,)
    # Draws of one step after another are not repeated.
    assert len(np.unique(drawn[:20])) > min(size, 20) // 3
