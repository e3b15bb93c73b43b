import numpy as np
import pytest
import tensorflow_federated as tff

from tff_cnn.aggregators.excluded import without_excluded

UPDATE = tff.to_type(
    [tff.TensorType(np.float32, (2,)), tff.TensorType(np.float32)]
)


@tff.federated_computation(
    tff.FederatedType(UPDATE, tff.CLIENTS),
    tff.FederatedType(np.float32, tff.CLIENTS),
)
def marked(value, weight):
    return without_excluded(value, weight)


@pytest.mark.usefixtures("native_runtime")
def test_zeros_for_what_is_not_finite_and_weight_zero_for_who_does_not_count():
    one = [np.float32([1, 2]), np.float32(3)]
    nan = [np.float32([1, np.nan]), np.float32(3)]
    infinite = [np.float32([1, 2]), np.float32(-np.inf)]
    largest = [np.float32([3e38, -3e38]), np.float32(3e38)]
    given = [one, nan, infinite, largest, one, one, one, one]
    weights = np.float32([2, 1, 1, 1, 0, -1, np.nan, np.inf])
    updates, kept = marked(given, list(weights))
    assert list(kept) == [2, 0, 0, 1, 0, 0, 0, 0]
    flat = [[*u[0], u[1]] for u in updates]
    assert flat[0] == [1, 2, 3]
    assert flat[1] == flat[2] == [0, 0, 0]
    assert flat[3] == [np.float32(3e38), np.float32(-3e38), np.float32(3e38)]
    assert flat[4:] == [[1, 2, 3]] * 4  # Finite: its weight says it all.
