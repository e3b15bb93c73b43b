import numpy as np
import pytest
import tensorflow_federated as tff

from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation

pytestmark = pytest.mark.usefixtures("native_runtime")

VALUES = [np.float32([0.1, 0.2, 0.3]) + np.float32(i) / 10 for i in range(3)]


def aggregate(weights, mechanism=None, values=VALUES):
    process = build_aggregator(mechanism, (1, 2)).create(
        tff.TensorType(np.float32, (3,)), tff.TensorType(np.float32)
    )
    return process.next(process.initialize(), values, weights).result


def test_worked_example_of_the_uniform_mean():
    np.testing.assert_allclose(
        aggregate([1.0, 1.0, 1.0]), [0.2, 0.3, 0.4], atol=1e-7
    )


def test_weighted_mean():
    np.testing.assert_allclose(
        aggregate([1.0, 0.0, 3.0]), [0.25, 0.35, 0.45], atol=1e-7
    )


def test_no_weight_at_all_is_zero_and_not_nan():
    np.testing.assert_array_equal(aggregate([0.0, 0.0, 0.0]), np.zeros(3))
    np.testing.assert_array_equal(aggregate([], values=[]), np.zeros(3))


def test_a_private_mean_ignores_weights_and_divides_by_the_expected_cohort():
    # Noise of 1e-6 of the clip: small enough to see the mean.
    mechanism = FixedClipGaussian(
        10.0, 1e-6, 6.0, Participation("poisson", 0.5)
    )
    expected = np.sum(VALUES, axis=0) / 6
    for weights in ([1.0, 1.0, 1.0], [5.0, 0.0, 2.0]):
        np.testing.assert_allclose(
            aggregate(weights, mechanism), expected, atol=1e-4
        )
