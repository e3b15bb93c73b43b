import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from hypothesis import given
from hypothesis import strategies as st

from tests.aggregators.compression import drawing
from tests.reference import compression as reference
from tff_cnn import runtime
from tff_cnn.aggregators import (
    AGGREGATORS,
    Quantize,
    SecureSum,
    codecs,
    composition,
)
from tff_cnn.aggregators.compression import quantize
from tff_cnn.aggregators.compression.quantize import (
    NormalLevels,
    UniformLevels,
)
from tff_cnn.aggregators.compression.rotate import Rotate
from tff_cnn.core.errors import UsageError

RNG = np.random.default_rng(0)


@drawing.unhurried
@given(drawing.vectors, st.integers(2, 16))
def test_the_nearest_level_is_the_references(vector, width):
    found = drawing.decoded(vector, UniformLevels(width, False))
    expected = reference.uniform_levels(np.float64(vector), width)
    step = np.abs(vector).max() / (2 ** (width - 1) - 1)
    # What lies between two levels may be rounded to either.
    off = np.abs(found - expected) > 1e-5 * np.abs(vector).max()
    assert np.count_nonzero(off) <= 1 + len(vector) // 20
    assert (np.abs(found - vector) <= 0.502 * step).all()


@drawing.unhurried
@given(drawing.vectors, st.integers(2, 16))
def test_stochastic_rounding_errs_by_less_than_a_step(vector, width):
    found = drawing.decoded(vector, UniformLevels(width))
    step = np.abs(vector).max() / (2 ** (width - 1) - 1)
    assert (np.abs(found - vector) <= 1.0001 * step).all()
    draw = tf.random.stateless_uniform(
        vector.shape, codecs.stream(drawing.seeds().own, 1)
    )
    expected = reference.uniform_levels(vector, width, draw.numpy())
    np.testing.assert_allclose(
        found, expected, atol=1e-5 * np.abs(vector).max()
    )


def test_stochastic_rounding_is_right_in_the_mean():
    vector = RNG.standard_normal(50).astype(np.float32)
    found = drawing.many(vector, UniformLevels(3), count=2000)
    step = np.abs(vector).max() / 3
    # Five deviations of the mean of 2,000; one is half a step at most.
    np.testing.assert_allclose(
        found.mean(0), vector, atol=5 * step / 2 / 2000**0.5
    )
    assert found.var(0).max() <= 1.1 * step**2 / 4
    largest = np.argmax(np.abs(vector))
    assert (found[:, largest] == vector[largest]).all()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_levels_are_those_that_were_published(width):
    np.testing.assert_allclose(
        quantize.normal_levels(width),
        reference.normal_levels(width),
        atol=6e-4,  # Of four digits.
    )
    # From the same table.
    published = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497}
    grid = np.linspace(-9, 9, 100_001)
    density = np.exp(-(grid**2) / 2)
    distance = np.abs(grid[:, None] - quantize.normal_levels(width)).min(1)
    error = (density * distance**2).sum() / density.sum()
    assert error == pytest.approx(published[width], rel=2e-3)


def test_256_levels_are_next_to_the_best():
    # Panter and Dite 1951: sqrt(3) pi / 2 over the square of their number.
    levels = quantize.normal_levels(8)
    grid = np.linspace(-9, 9, 100_001)
    density = np.exp(-(grid**2) / 2)
    distance = np.abs(grid[:, None] - levels).min(1)
    error = (density * distance**2).sum() / density.sum()
    assert error == pytest.approx(3**0.5 * np.pi / 2 / 2**16, rel=0.02)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_eden_is_the_references(width):
    vector = RNG.standard_normal(128).astype(np.float32)
    np.testing.assert_allclose(
        drawing.decoded(vector, NormalLevels(width)),
        reference.eden(np.float64(vector), reference.normal_levels(width)),
        rtol=2e-3,
    )
    assert drawing.num_bytes(vector, NormalLevels(width)) == 4 + 16 * width


@pytest.mark.parametrize("power", [1.0, 4.0])
@pytest.mark.parametrize(
    ("width", "published"), [(2, 0.1331), (3, 0.0358), (4, 0.0096)]
)
def test_edens_error_is_the_papers(width, published, power):
    """Whatever is rotated: Vargaftik et al. 2022, of many dimensions."""
    normal = RNG.standard_normal(4096)
    vector = (np.sign(normal) * np.abs(normal) ** power).astype(np.float32)
    chain = Rotate(), NormalLevels(width)
    found = drawing.many(vector, *chain, count=100)
    errors = [drawing.relative_error(x, vector) for x in found]
    assert np.mean(errors) == pytest.approx(published, rel=0.05)
    # Right in the mean: that of 100 errs by a hundredth.
    error = drawing.relative_error(found.mean(0), vector)
    assert error == pytest.approx(published / 100, rel=0.15)


SEED = tf.constant([1, 2], tf.int64)


def test_integers_of_a_secure_sum_are_next_to_the_numbers():
    numbers = tf.constant(np.linspace(-7, 7, 57))  # float64, quarters.
    exact = quantize.integer_code(4, "nearest", "uniform")
    assert exact.levels == 7
    np.testing.assert_array_equal(
        exact.rounded(numbers, SEED), np.round(numbers)
    )
    drawn = quantize.integer_code(4, "stochastic", "uniform")
    found = np.array(
        [
            drawn.rounded(numbers, tf.constant([3, k], tf.int64))
            for k in range(400)
        ]
    )
    assert np.all(np.abs(found - numbers) < 1)
    np.testing.assert_array_equal(found, np.round(found))
    np.testing.assert_allclose(found.mean(0), numbers, atol=0.1)


@pytest.mark.parametrize(
    "given", [("nearest", "eden"), ("nearest", "uniform", True)]
)
def test_what_a_secure_sum_cannot_add_up_is_refused(given):
    with pytest.raises(UsageError, match="before secure_sum quantize has"):
        quantize.integer_code(4, *given)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_a_secure_sum_of_quantized_updates(rounding):
    """With one client: within half a level, or one."""
    chain = [
        Quantize(quantize_bits=5, quantize_rounding=rounding),
        SecureSum(secure_bound=1.0),
    ]
    process = composition.build_aggregator(AGGREGATORS.chained(chain)).create(
        tff.TensorType(np.float32, (4,)), tff.TensorType(np.float32)
    )
    update = np.float32([0.3, -0.71, 5.0, 0.0])
    with runtime.use("in_process"):
        output = process.next(process.initialize(), [update], [1.0])
    within = (0.5 if rounding == "nearest" else 1.0) / 15 + 1e-6
    np.testing.assert_allclose(
        output.result, [0.3, -0.71, 1.0, 0.0], atol=within
    )
    np.testing.assert_allclose(
        15 * output.result, np.round(15 * output.result), atol=1e-4
    )
