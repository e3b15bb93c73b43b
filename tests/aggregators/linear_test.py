import collections

import numpy as np
import pytest
import tensorflow_federated as tff
from hypothesis import given, settings
from hypothesis import strategies as st

import tff_cnn
from tests.algorithms import toy
from tff_cnn import runtime
from tff_cnn.aggregators import (
    AGGREGATORS,
    Mean,
    Quantize,
    Rotate,
    SecureSum,
    TopK,
)
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.aggregators.compression.rotate import block_lengths
from tff_cnn.aggregators.encoded import EncodedFactory
from tff_cnn.aggregators.linear import LinearFactory
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError

BOUND, BITS, SIZE = 0.5, 10, 75
# As many numbers as all blocks have: 128.
PADDED = sum(block_lengths(SIZE))
VALUE = tff.to_type(
    collections.OrderedDict(
        b=tff.TensorType(np.float32, (7, 10)),
        a=tff.TensorType(np.float32, (5,)),
    )
)
SECURE = SecureSum(
    secure_bound=BOUND, secure_max_weight=10, secure_max_clients=10
)
CODE = Quantize(quantize_bits=BITS, quantize_rounding="nearest")


def created(*parts):
    factory = build_aggregator(AGGREGATORS.chained(parts))
    return factory.create(VALUE, tff.TensorType(np.float32))


@pytest.fixture(scope="module", autouse=True)
def opened():
    with runtime.use("in_process", threads=1):
        yield


@pytest.fixture(scope="module")
def rotated():
    return created(Rotate(), CODE, SECURE)


def run(process, state, updates, weights):
    value = [
        collections.OrderedDict(
            b=np.float32(u[:70]).reshape(7, 10), a=np.float32(u[70:])
        )
        for u in updates
    ]
    output = process.next(state, value, [np.float32(w) for w in weights])
    found = np.concatenate([np.ravel(v) for v in output.result.values()])
    return output.state, found, output.measurements


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**16), st.sampled_from([0, 1, 2.5, 10])),
        min_size=1,
        max_size=10,
    )
)
def test_the_mean_is_the_plain_one_but_for_what_is_rounded(rotated, clients):
    """For updates of L2 norm B, none of whose rotated numbers is clipped."""
    updates = [np.random.default_rng(s).normal(size=SIZE) for s, _ in clients]
    updates = [BOUND * u / np.linalg.norm(u) for u in updates]
    weights = np.array([w for _, w in clients])
    _, found, counts = run(rotated, rotated.initialize(), updates, weights)
    assert counts["secure_clipped"] == 0
    if not weights.any():
        assert not found.any()
        return
    expected = np.average(updates, axis=0, weights=weights)
    # Each number of each client is off by half a level, and rotations keep
    # norms; weights are rounded too, by less than 1 / 2 L of one.
    levels = 2 ** (BITS - 1) - 1
    error = len(clients) * BOUND / 2 / levels / weights.sum()
    error *= PADDED**0.5 + 1
    assert np.linalg.norm(found - expected) <= error * 1.01


def test_a_rotation_spreads_what_a_bound_would_cut_off(rotated):
    spike = np.zeros(SIZE)
    spike[3] = 4 * BOUND  # In a block of 128: an eleventh of it each.
    plain = created(CODE, SECURE)
    _, cut, counts = run(plain, plain.initialize(), [spike], [1])
    assert counts["secure_clipped"] == 1
    assert cut[3] == pytest.approx(BOUND)
    _, found, counts = run(rotated, rotated.initialize(), [spike], [1])
    assert counts["secure_clipped"] == 0
    np.testing.assert_allclose(found, spike, atol=0.02)


def test_rounds_have_rotations_of_their_own(rotated):
    update = np.random.default_rng(0).normal(size=SIZE) * BOUND / 10
    state, found = rotated.initialize(), []
    for _ in range(3):
        state, *result = run(rotated, state, [update], [1])
        found.append(result[0])
        np.testing.assert_allclose(result[0], update, atol=5e-3)
    errors = np.stack(found) - update
    assert np.abs(np.corrcoef(errors) - np.eye(3)).max() < 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_who_is_not_finite_is_left_out(rotated, value):
    good, bad = np.full(SIZE, 0.01), np.full(SIZE, 0.01)
    bad[5] = value
    _, found, counts = run(rotated, rotated.initialize(), [good, bad], [1, 9])
    np.testing.assert_allclose(found, good, atol=2e-3)
    assert counts["secure_clients"] == 1


def test_a_run_sends_integers_of_what_is_rotated():
    config = toy.config(
        aggregator="rotate+quantize+secure_sum",
        client_weighting="uniform",
        rounds=1,
    )
    rows = tff_cnn.train(config).metrics
    # 111 numbers in a block of 128, and three beside them, of the 32 bits
    # of a code, a weight and how many clients there may be.
    assert [row["bytes_up"] for row in rows] == [3 * (128 + 3) * 4]
    assert rows[0]["secure_clipped"] == 0


def test_numbers_that_the_sum_itself_rounds_are_rotated_too():
    process = created(Rotate(), SECURE)
    spike = np.zeros(SIZE)
    spike[3] = 4 * BOUND
    _, found, counts = run(process, process.initialize(), [spike] * 2, [1, 3])
    assert counts["secure_clipped"] == 0
    np.testing.assert_allclose(found, spike, atol=1e-5)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([TopK(), CODE, SECURE], "would have to decode what each client"),
        ([Rotate(), TopK(), SECURE], "would have to decode what each client"),
        ([CODE, Rotate(), SECURE], "leaves no numbers to be encoded"),
    ],
)
def test_what_is_not_linear_is_refused(parts, said):
    with pytest.raises(UsageError, match=said):
        AGGREGATORS.chained(parts)


def test_a_rotation_alone_is_decoded_one_by_one():
    config = RunConfig(aggregator=[Rotate(), Mean()]).resolved()
    found = build_aggregator(config.aggregator)
    assert isinstance(found, EncodedFactory)
    found = build_aggregator(AGGREGATORS.chained([Rotate(), SECURE]))
    assert isinstance(found, LinearFactory)
