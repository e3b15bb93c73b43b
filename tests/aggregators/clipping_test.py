import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.in_process.vectorize_test import together
from tff_cnn.aggregators import clipping

LARGEST = np.finfo(np.float32).max
ENTRIES = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False)
    | st.sampled_from([LARGEST, -LARGEST, 3e19, 1e-45, 1e-30]),
    min_size=1,
    max_size=20,
).map(np.float32)
NORMS = [(clipping.l2_norm, 2), (clipping.l1_norm, 1)]


def clip(record, bound, *norm_of):
    clipped, norm = clipping.clip(record, bound, *norm_of)
    return [leaf.numpy() for leaf in clipped], norm.numpy()


def norm(record, order=2):
    flat = np.concatenate([np.ravel(leaf).astype(float) for leaf in record])
    return np.linalg.norm(flat, order)


def test_worked_example():
    record = {"a": tf.constant([[3.0], [0.0]]), "b": tf.constant(-4.0)}
    clipped, before = clipping.clip(record, 2.5)
    np.testing.assert_array_equal(clipped["a"], np.float32([[1.5], [0.0]]))
    assert clipped["b"] == -2.0 and before == 5.0
    by_l1, before = clipping.clip(record, 3.5, clipping.l1_norm)
    np.testing.assert_array_equal(by_l1["a"], np.float32([[1.5], [0.0]]))
    assert by_l1["b"] == -2.0 and before == 7.0
    same, _ = clipping.clip(record, tf.constant(5.0))
    tf.nest.map_structure(np.testing.assert_array_equal, same, record)


@settings(deadline=None)
@given(
    st.lists(ENTRIES, min_size=1, max_size=3),
    st.floats(1e-10, 1e20),
    st.sampled_from(NORMS),
)
def test_finite_records_keep_their_direction(record, bound, kind):
    norm_of, order = kind
    clipped, before = clip(record, bound, norm_of)
    length = norm(record, order)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(
            before, np.float32(length), rtol=1e-6, atol=2e-38
        )
    assert norm(clipped, order) <= bound * (1 + 1e-6)
    factor = bound / max(length, bound)
    for old, new in zip(record, clipped, strict=True):
        assert new.dtype == np.float32
        # Where results are denormal, they may be zero.
        np.testing.assert_allclose(
            new, old.astype(float) * factor, rtol=1e-6, atol=2e-38
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("norm_of", "_"), NORMS)
def test_what_is_not_finite_becomes_zeros_of_infinite_norm(value, norm_of, _):
    record = [np.ones(3, np.float32), np.float32([1.0, value, LARGEST])]
    clipped, before = clip(record, 1.0, norm_of)
    for leaf in clipped:
        np.testing.assert_array_equal(leaf, np.zeros(3))
    assert before == np.inf


def test_nothing_is_divided_by_zero():
    for bound in (0.0, 1e-40, 1.0):
        for value in (0.0, 1e-45, LARGEST):
            (clipped,), _ = clip([np.float32([value])], bound)
            assert np.isfinite(clipped) and abs(clipped) <= bound * (1 + 1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e36])
def test_a_model_of_millions_is_not_longer_than_the_bound(scale):
    rng = np.random.default_rng(0)
    large = rng.standard_normal(1_663_370, np.float32) * np.float32(scale)
    same = np.full(1_663_370, scale, np.float32)
    for leaf in (large, same):
        (clipped,), _ = clip([leaf], 0.5)
        assert norm([clipped]) == pytest.approx(0.5, rel=1e-6)


def test_many_clients_are_clipped_in_one_call():
    rows = np.float32([[3, 0, 4], [0.1, 0, 0.2], [np.nan, 1, 1], [3e38] * 3])

    def one(leaf, other):
        (first, second), before = clipping.clip([leaf, other], 2.5)
        return [first, second, before]

    found, _ = together(one, [rows, rows[:, :1]], [True, True])
    for i, row in enumerate(rows):
        for of_all, alone in zip(found, one(row, row[:1]), strict=True):
            np.testing.assert_array_equal(of_all[i], alone)


@pytest.mark.usefixtures("native_runtime")
def test_the_factory_clips_before_the_inner_aggregation():
    process = clipping.ClippingFactory(
        2.5, tff.aggregators.SumFactory()
    ).create(tff.to_type([(np.float32, (2,)), np.float32]))
    long = [np.float32([3, 0]), np.float32(4)]
    short = [np.float32([0, 1]), np.float32(0)]
    state = process.initialize()
    output = process.next(state, [long, short])
    np.testing.assert_array_equal(output.result[0], [1.5, 1.0])
    assert output.result[1] == 2.0 and output.state == state
