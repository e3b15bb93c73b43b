"""Whatever one client sends: it moves the sum by its clip, the noise is there.

Every mechanism; entries up to the largest float, infinite, NaN and denormal.
"""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.mechanisms_contract_test import SEED, SOME, build
from tff_cnn import runtime
from tff_cnn.aggregators import private
from tff_cnn.core.traits import FIXED_COHORT
from tff_cnn.privacy import MECHANISMS

CLIP = 0.5
COHORT = 3
SHAPES = [(3,), (2, 2)]
HONEST = [np.float32([0.1, -0.2, 0.05]), np.full((2, 2), 0.1, np.float32)]
ENTRIES = st.one_of(
    st.floats(width=32),
    st.sampled_from([3.4e38, -3.4e38, 3e19, np.inf, -np.inf, np.nan, 1e-45]),
)
UPDATES = st.tuples(
    *(
        st.lists(ENTRIES, min_size=size, max_size=size).map(
            lambda entries, shape=shape: np.float32(entries).reshape(shape)
        )
        for shape, size in zip(SHAPES, (3, 4), strict=True)
    )
).map(list)
DISTRIBUTED = MECHANISMS.needing(FIXED_COHORT)
CENTRAL = [name for name in MECHANISMS if name not in DISTRIBUTED]


@pytest.fixture(scope="module", autouse=True)
def in_process():
    with runtime.use("in_process"):
        yield


@functools.cache
def aggregation(name, noise_multiplier):
    """A process and its first state."""
    mechanism = build(name, SOME[name], noise_multiplier)
    if name in DISTRIBUTED:
        mechanism = dataclasses.replace(
            mechanism, expected_cohort=float(COHORT), num_parameters=7
        )
    process = private.build(mechanism, SEED).create(
        tff.to_type([(np.float32, shape) for shape in SHAPES])
    )
    return mechanism, process, process.initialize()


def release(name, noise_multiplier, *updates):
    """(sum of the first round with its noise, output)."""
    mechanism, process, state = aggregation(name, noise_multiplier)
    output = process.next(state, list(updates))
    return flat(output.result) * mechanism.expected_cohort, output


@functools.cache
def release_without(name, noise_multiplier):
    """The same of the two honest clients alone."""
    return release(name, noise_multiplier, HONEST, HONEST)[0]


def flat(update):
    return np.concatenate([np.ravel(leaf).astype(float) for leaf in update])


def clipped(update, name):
    """In float64, where no norm overflows."""
    if name == "per_layer_clip":
        layers = [clip(np.ravel(u), CLIP / 2**0.5) for u in update]
        return np.concatenate(layers)
    return clip(flat(update), CLIP)


def clip(vector, bound):
    vector = vector.astype(float)
    if not np.isfinite(vector).all():
        return np.zeros_like(vector)
    return vector * bound / max(np.linalg.norm(vector), bound)


def assert_all_finite(structure):
    for leaf in tf.nest.flatten(structure):
        if not isinstance(leaf, bytes):
            assert np.isfinite(leaf).all()


@settings(deadline=None, max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("name", CENTRAL)
def test_a_client_moves_the_noised_sum_by_its_clipped_update(name, data):
    update = data.draw(UPDATES)
    # The noise is the same with and without, but not so much of it that
    # float32 would round the difference.
    without = release_without(name, 0.25)
    found, output = release(name, 0.25, HONEST, update, HONEST)
    moved = found - without
    assert np.linalg.norm(moved) <= CLIP * (1 + 1e-6)
    np.testing.assert_allclose(moved, clipped(update, name), atol=5e-7)
    noise = without - 2 * flat(HONEST)
    assert np.abs(noise).min() > 1e-4 and np.linalg.norm(noise) > CLIP / 4
    assert_all_finite((output.state, output.measurements))


@settings(deadline=None, max_examples=20)
@given(data=st.data())
@pytest.mark.parametrize("name", DISTRIBUTED)
def test_a_client_moves_a_secure_sum_by_its_clip_at_most(name, data):
    update = data.draw(UPDATES)
    quiet, _ = release(name, 1e-6, HONEST, update, HONEST)
    moved = quiet - 2 * flat(HONEST)
    mechanism, _, _ = aggregation(name, 1e-6)
    rounding = COHORT * mechanism.dimension**0.5 / mechanism.scale
    noise = 8 * COHORT**0.5 * mechanism.scaled_local_stddev / mechanism.scale
    assert np.linalg.norm(moved) <= CLIP + rounding + noise < 1.01 * CLIP
    np.testing.assert_allclose(
        moved, clipped(update, name), atol=rounding + noise
    )
    noised, output = release(name, 2.0, HONEST, update, HONEST)
    assert np.linalg.norm(noised - quiet) > CLIP / 4
    assert_all_finite((noised, output.state, output.measurements))


@pytest.mark.parametrize("name", CENTRAL)
def test_the_divisor_is_the_expected_cohort_whole_or_not(name):
    mechanism = dataclasses.replace(
        build(name, SOME[name], 1e-6), expected_cohort=7.45
    )
    process = private.build(mechanism, SEED).create(
        tff.to_type([(np.float32, shape) for shape in SHAPES])
    )
    output = process.next(process.initialize(), [HONEST])
    np.testing.assert_allclose(
        flat(output.result) * 7.45, flat(HONEST), rtol=1e-3
    )
