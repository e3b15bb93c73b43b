import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import secure_sum as reference
from tff_cnn import runtime
from tff_cnn.aggregators import secure_sum
from tff_cnn.aggregators.masking import execution
from tff_cnn.aggregators.masking.execution import Masking
from tff_cnn.aggregators.secure_sum import (
    IntegerCode,
    SecureMeanFactory,
    SecureRecordSumFactory,
    nearest,
)

VECTOR = tff.TensorType(np.float32, (4,))
WEIGHT = tff.TensorType(np.float32)
BOUND, BITS, MAX_WEIGHT = 0.5, 8, 100


@pytest.fixture(scope="module", autouse=True)
def opened():
    with runtime.use("in_process", threads=1):
        yield


@pytest.fixture(scope="module")
def process():
    return SecureMeanFactory(BOUND, nearest(BITS), MAX_WEIGHT, 10).create(
        VECTOR, WEIGHT
    )


def run(process, values, *weights):
    weights = [[np.float32(w) for w in column] for column in weights]
    values = [np.float32(v) for v in values]
    output = process.next(process.initialize(), values, *weights)
    return output.result, output.measurements


NUMBERS = st.floats(-1, 1, width=32)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(NUMBERS, min_size=4, max_size=4),
            st.sampled_from([0.0, 0.5, 1.0, 3.7, 99.0, 100.0, 1e6]),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_the_mean_is_that_of_the_reference(process, clients):
    values, weights = zip(*clients, strict=True)
    found, counts = run(process, values, weights)
    expected = reference.weighted_mean(
        np.float32(values), weights, BOUND, BITS, MAX_WEIGHT
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    counted = [np.float32(v) for v, w in clients if w > 0]
    assert counts["secure_clients"] == len(counted)
    assert counts["secure_clipped"] == sum(
        np.abs(v).max() > BOUND for v in counted
    )


def test_the_largest_sum_of_as_many_as_fit_does_not_overflow(process):
    for value in (1e25, -1e25):
        found, counts = run(process, [[value] * 4] * 10, [1e9] * 10)
        np.testing.assert_array_equal(found, np.sign(value) * BOUND)
        assert counts["secure_clipped"] == 10


def test_more_clients_than_fit_are_refused(process):
    with pytest.raises(Exception, match="secure_max_clients"):
        run(process, [[0.1] * 4] * 11, [1] * 11)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_who_is_not_finite_is_left_out_and_no_zeros(process, value):
    given_values = [[0.25] * 4, [0.25, value, 0.25, 0.25]]
    found, counts = run(process, given_values, [1, 50])
    np.testing.assert_allclose(found, 0.25, atol=BOUND / 127 / 2)
    assert counts["secure_clients"] == 1
    found, _ = run(process, [[0.25] * 4] * 2, [1, np.nan])
    np.testing.assert_allclose(found, 0.25, atol=BOUND / 127 / 2)


def test_bytes_are_of_integers_as_short_as_they_can_be(process):
    # 2 * 127 * 100 * 10 takes 18 bits; three numbers stand beside the four.
    _, counts = run(process, [[0.1] * 4] * 3, [1] * 3)
    assert counts["bytes_up"] == 3 * (4 + 3) * 3


def test_masked_sums_give_the_same_mean_to_the_bit(process):
    rng = np.random.default_rng(0)
    values, weights = rng.uniform(-1, 1, [10, 4]), rng.uniform(0, 90, 10)
    plain, _ = run(process, values, weights)
    with execution.of_round(Masking(2 / 3), 1, 1) as report:
        masked, counts = run(process, values, weights)
    np.testing.assert_array_equal(masked, plain)
    assert (report.num_sums, report.dropped) == (1, 0)
    assert counts["secure_clients"] == 10


def test_the_mean_is_of_those_who_stay(process):
    masking = Masking(0.501, dropout=0.08)
    values = [[u / 20] * 4 for u in range(10)]
    with execution.of_round(masking, 1, 1) as report:
        found, counts = run(process, values, range(1, 11))
    assert report.dropped > 0
    assert report.aborted == 0
    assert counts["secure_clients"] == 10 - report.dropped
    everybody, _ = run(process, values, range(1, 11))
    assert np.abs(found - everybody).max() > 1e-3


def test_an_aborted_round_changes_nothing(process):
    with execution.of_round(Masking(1.0, dropout=0.5), 1, 1) as report:
        found, counts = run(process, [[0.3] * 4] * 10, [1] * 10)
    assert report.aborted == 1
    assert not found.any()
    assert counts["secure_clients"] == 0


def test_records_never_get_longer():
    """So that noise that was calibrated to their norm covers the sum."""
    total = SecureRecordSumFactory(1.0, 6, 4).create(VECTOR)
    rng = np.random.default_rng(0)
    for record in rng.uniform(-1, 1, [5, 4]).astype(np.float32):
        found, _ = run(total, [record])
        assert np.all(np.abs(found) <= np.abs(record) * (1 + 1e-6))
        np.testing.assert_allclose(found, record, atol=1 / 31)
    found, _ = run(total, [[0.5, 2.0, -0.25, 0]] * 3)
    expected = [3 * 15 / 31, 3.0, -3 * 7 / 31, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_a_codec_makes_is_summed_as_it_is():
    """The seam of a codec with integers of its own."""
    code = IntegerCode(3, lambda x, seed: tf.math.ceil(x))
    factory = secure_sum.build_secure_sum(
        secure_bound=3.0,
        secure_bits=24,
        secure_max_weight=1,
        secure_max_clients=10,
        code=code,
        secure_protocol="none",
    )
    # 2 * 3 * 10 numbers: a byte each.
    assert factory.ring.num_bytes == 1
    process = factory.create(VECTOR, WEIGHT)
    found, _ = run(process, [[0.1, 1.9, -0.1, -3.0], [1, 1, 1, 1]], [1, 1])
    np.testing.assert_allclose(found, [1, 1.5, 0.5, -1], atol=1e-6)


def test_an_update_of_many_variables_has_its_structure():
    type_ = tff.to_type(
        collections.OrderedDict(
            b=tff.TensorType(np.float32, (2, 2)), a=tff.TensorType(np.float32)
        )
    )
    process = SecureMeanFactory(1.0, nearest(24), 1, 10).create(type_, WEIGHT)
    value = collections.OrderedDict(
        b=np.float32([[0.1, 0.2], [0.3, 0.4]]), a=np.float32(-0.5)
    )
    output = process.next(process.initialize(), [value, value], [1.0, 1.0])
    assert list(output.result) == ["b", "a"]
    for name in value:
        np.testing.assert_allclose(output.result[name], value[name], atol=1e-6)
