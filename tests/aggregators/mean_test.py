import numpy as np
import pytest
import tensorflow_federated as tff

from tff_cnn.aggregators.mean import build_mean

pytestmark = pytest.mark.usefixtures("native_runtime")

VALUES = [np.float32([0.1, 0.2, 0.3]) + np.float32(i) / 10 for i in range(3)]


@pytest.fixture(scope="module")
def aggregate():
    process = build_mean().create(
        tff.TensorType(np.float32, (3,)), tff.TensorType(np.float32)
    )

    def aggregate(weights, values=VALUES):
        return process.next(process.initialize(), values, weights).result

    return aggregate


def test_worked_example_of_the_uniform_mean(aggregate):
    found = aggregate([1.0, 1.0, 1.0])
    np.testing.assert_allclose(found, [0.2, 0.3, 0.4], atol=1e-7)


def test_weighted_mean(aggregate):
    found = aggregate([1.0, 0.0, 3.0])
    np.testing.assert_allclose(found, [0.25, 0.35, 0.45], atol=1e-7)


def test_no_weight_at_all_is_zero_and_not_nan(aggregate):
    np.testing.assert_array_equal(aggregate([0.0, 0.0, 0.0]), np.zeros(3))
    np.testing.assert_array_equal(aggregate([], []), np.zeros(3))
