import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.runtime.in_process import late_products
from tff_cnn.runtime.in_process.vectorize import vectorize

ROWS, COLUMNS, BATCH = 12, 9, 4
RATE = np.float32(0.1)


@pytest.fixture(autouse=True)
def _small_matrices_too(monkeypatch):
    monkeypatch.setattr(late_products, "_MIN_ELEMENTS", ROWS * COLUMNS)
    monkeypatch.setattr(late_products, "_MAX_ROWS", 3 * BATCH)


def loop(step, goes_on=lambda number, weights: number < 8):
    """Eight steps, of which the last two are not yet subtracted."""

    def train(batches, weights):
        return tf.while_loop(
            goes_on,
            lambda number, w: (number + 1, step(batches[number], w)),
            (tf.constant(0), weights),
        )[1]

    return train


def gradient_step(x, w):
    """SGD on sum((x w)^2) with w' in use too."""
    out = x @ w
    return w - RATE * tf.matmul(x, out, transpose_a=True)


def both(step, **kwargs):
    """What a loop computes, and what it computes recorded again."""
    rng = np.random.default_rng(0)
    batches = np.float32(rng.standard_normal((8, BATCH, ROWS)) / 3)
    weights = np.float32(rng.standard_normal((ROWS, COLUMNS)))
    specs = [tf.TensorSpec(a.shape) for a in (batches, weights)]
    before = tf.function(
        loop(step, **kwargs), input_signature=specs
    ).get_concrete_function()
    record = vectorize(before.graph, {}, [False, False])
    after = tf.function(
        lambda *tensors: record(tensors)[0].tensor, input_signature=specs
    ).get_concrete_function()
    return before(batches, weights), after(batches, weights), after


def is_late(function) -> bool:
    """Whether the loop carries factors: matrices with a row for a row."""
    (op,) = (
        op
        for op in function.graph.get_operations()
        if op.type in ("While", "StatelessWhile")
    )
    body = op.get_attr("body").name
    definition = next(
        f
        for f in function.graph.as_graph_def().library.function
        if f.signature.name == body
    )
    return any(node.op.endswith("If") for node in definition.node_def)


def test_steps_of_sgd_are_subtracted_late():
    expected, found, function = both(gradient_step)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert is_late(function)


def test_products_with_the_transposed_weights():
    def step(x, w):
        out = x @ w
        back = tf.matmul(out, w, transpose_b=True)
        return w - RATE * tf.matmul(tf.tanh(back), out, transpose_a=True)

    expected, found, function = both(step)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert is_late(function)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(
            lambda x, w: gradient_step(x, w) - 0.01 * w, id="decaying"
        ),
        pytest.param(
            lambda x, w: gradient_step(x, w / tf.norm(w)), id="normalized"
        ),
        pytest.param(
            lambda x, w: w - tf.tanh(w - gradient_step(x, w)),
            id="not linear",
        ),
        pytest.param(
            lambda x, w: (
                w - RATE * tf.matmul(x, x @ w, transpose_a=True) * tf.sign(w)
            ),
            id="elementwise",
        ),
        pytest.param(
            lambda x, w: tf.matmul(x, x @ w, transpose_a=True) - w,
            id="the wrong way round",
        ),
        pytest.param(
            lambda x, w: w + RATE * tf.matmul(x, x @ w, transpose_a=True) / 9.0,
            id="added",
        ),
    ],
)
def test_other_steps_stay(step):
    expected, found, function = both(step)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not is_late(function)


def test_new_weights_that_the_step_reads_are_whole():
    """The sum of the weights after each step is carried along."""

    def train(batches, weights):
        def body(number, w, total):
            new = gradient_step(batches[number], w)
            return number + 1, new, total + tf.reduce_sum(new)

        return tf.while_loop(
            lambda number, *_: number < 8, body, (tf.constant(0), weights, 0.0)
        )[1:]

    rng = np.random.default_rng(0)
    batches = np.float32(rng.standard_normal((8, BATCH, ROWS)) / 3)
    weights = np.float32(rng.standard_normal((ROWS, COLUMNS)))
    specs = [tf.TensorSpec(a.shape) for a in (batches, weights)]
    before = tf.function(train, input_signature=specs).get_concrete_function()
    record = vectorize(before.graph, {}, [False, False])
    after = tf.function(
        lambda *tensors: [value.tensor for value in record(tensors)],
        input_signature=specs,
    ).get_concrete_function()
    assert not is_late(after)
    for a, b in zip(
        before(batches, weights), after(batches, weights), strict=True
    ):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_weights_that_decide_on_another_step_are_kept_whole():
    expected, found, function = both(
        gradient_step,
        goes_on=lambda number, w: (number < 8) & (tf.norm(w) > 6.0),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not is_late(function)


def test_small_matrices_stay(monkeypatch):
    monkeypatch.setattr(late_products, "_MIN_ELEMENTS", ROWS * COLUMNS + 1)
    expected, found, function = both(gradient_step)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not is_late(function)


def test_batches_of_many_rows_stay(monkeypatch):
    monkeypatch.setattr(late_products, "_MAX_ROWS", BATCH)
    _, _, function = both(gradient_step)
    assert not is_late(function)
