import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.algorithms import local_rule
from tff_cnn.runtime.in_process import late_products
from tff_cnn.runtime.in_process.vectorize import vectorize

ROWS, COLUMNS, BATCH = 12, 9, 4
RATE = np.float32(0.1)


@pytest.fixture(autouse=True)
def _small_matrices_too(monkeypatch):
    monkeypatch.setattr(late_products, "_MIN_ELEMENTS", ROWS * COLUMNS)


def product(x, w):
    return tf.matmul(x, x @ w, transpose_a=True)


def corrected(x, w, b, pull):
    """What most rules make of a gradient."""
    step = local_rule.Step((w,), None, None, x, None, None, None, (b,))
    return local_rule.corrected((product(x, w),), step, pull)[0]


def both(step):
    """What eight steps compute, and what they compute recorded again."""

    def train(batches, weights, constant, rate):
        return tf.while_loop(
            lambda number, *_: number < 8,
            lambda number, w, r: (
                number + 1,
                step(batches[number], w, constant, r),
                r,
            ),
            (tf.constant(0), weights, rate),
        )[1]

    rng = np.random.default_rng(0)
    values = [
        np.float32(rng.standard_normal(shape) / 3)
        for shape in ((8, BATCH, ROWS), (ROWS, COLUMNS), (ROWS, COLUMNS))
    ] + [RATE]
    specs = [tf.TensorSpec(np.shape(value)) for value in values]
    before = tf.function(train, input_signature=specs).get_concrete_function()
    record = vectorize(before.graph, {}, [False] * len(values))
    after = tf.function(
        lambda *tensors: record(tensors)[0].tensor, input_signature=specs
    ).get_concrete_function()
    return before(*values).numpy(), after(*values).numpy(), after


def passes(function) -> int:
    """Operations of a step that compute arrays as large as the weights."""
    (loop,) = (
        op
        for op in function.graph.get_operations()
        if op.type in ("While", "StatelessWhile")
    )
    body = function.graph._get_function(loop.get_attr("body").name)
    fetches = {plain(t).op for t in body.graph.outputs}
    needed = set()
    while fetches:
        op = fetches.pop()
        needed.add(op)
        fetches |= {t.op for t in op.inputs} - needed
    return sum(
        op.type in ("Mul", "Sub", "AddN", "MatMul", "Neg")
        and op.outputs[0].shape == [ROWS, COLUMNS]
        for op in needed
    )


def plain(tensor):
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


@pytest.mark.parametrize(
    "pull, num_passes", [pytest.param(0.0, 2, id="no pull"), (0.3, 3)]
)
@pytest.mark.parametrize(
    "rate", [lambda r: r, lambda r: RATE], ids=["carried", "literal"]
)
def test_corrected_steps(pull, num_passes, rate):
    """The product and the sum, and with a pull the scaled weights."""
    expected, found, function = both(
        lambda x, w, b, r: w - rate(r) * corrected(x, w, b, pull)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert passes(function) == num_passes


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(
            lambda x, w, b, r: w - r * tf.add_n([product(x, w), tf.tanh(w)]),
            id="nothing constant",
        ),
        pytest.param(
            lambda x, w, b, r: w - r * tf.add_n([b, product(x, w), tf.tanh(w)]),
            id="another term",
        ),
        pytest.param(
            lambda x, w, b, r: (
                w - (r + tf.norm(x)) * tf.add_n([product(x, w), b])
            ),
            id="a rate of the step",
        ),
        pytest.param(
            lambda x, w, b, r: b - r * tf.add_n([product(x, w), b]),
            id="not from the weights",
        ),
        pytest.param(
            lambda x, w, b, r: w - tf.sign(b) * tf.add_n([product(x, w), b]),
            id="a rate for each weight",
        ),
    ],
)
def test_other_steps_stay(step):
    expected, found, function = both(step)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert passes(function) >= 4


def test_small_matrices_stay(monkeypatch):
    monkeypatch.setattr(late_products, "_MIN_ELEMENTS", ROWS * COLUMNS + 1)
    *_, function = both(lambda x, w, b, r: w - r * corrected(x, w, b, 0.0))
    assert passes(function) == 4
