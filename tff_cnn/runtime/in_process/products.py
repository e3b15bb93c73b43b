"""Scaled products of matrices: the scale goes to a factor.

A step of SGD, w - rate * (x' d), passes three times over an array as large as
the weights: the product, the scaled product, the difference. Of the factors a
batch has few rows: scaling one of them instead saves one pass in three.
"""

import tensorflow as tf

from tff_cnn.runtime.in_process.recording import emit, replace

_PRODUCTS = ("MatMul", "BatchMatMulV2")
_SAME_VALUES = ("Identity", "Reshape")


def scale_factors(graph: tf.Graph) -> None:
    """Rewrites each product that nothing reads but one multiplication by a
    scalar. Results may differ in their last bits.

    Args:
      graph: Complete, but still being recorded and the default graph.
    """
    for op in graph.get_operations():
        if op.type == "Mul":
            scaled = _with_scaled_factor(op)
            if scaled is not None:
                replace(op.outputs[0], scaled, op.outputs[0].consumers())


def _with_scaled_factor(multiplication: tf.Operation) -> tf.Tensor | None:
    """The result of a multiplication, otherwise computed, if it can be."""
    first, second = multiplication.inputs
    if first.shape.rank == 0:
        return _scaled(first, second)
    if second.shape.rank == 0:
        return _scaled(second, first)
    return None


def _scaled(scale: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor | None:
    """`scale` x `tensor`, which only that reads, if it is a product."""
    op = tensor.op
    if op.type not in _SAME_VALUES + _PRODUCTS or len(tensor.consumers()) != 1:
        return None
    first, *others = op.inputs
    if op.type in _SAME_VALUES:
        first = _scaled(scale, first)
        return None if first is None else emit(op, [first, *others])[0]
    rows, columns = tensor.shape[-2:]
    (second,) = others
    # The factors share an axis; the smaller one has less of the other.
    if rows is not None and columns is not None and rows < columns:
        return emit(op, [scale * first, second])[0]
    return emit(op, [first, scale * second])[0]
