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
        return scaled_product(first, second)
    if second.shape.rank == 0:
        return scaled_product(second, first)
    return None


def scaled_product(scale: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor | None:
    """`scale` x `tensor`, if that is a product, or a copy or a reshape of one.

    Args:
      scale: A scalar.
      tensor: In the default graph.

    Returns:
      None where it is no product, or one that more than one operation reads:
      it would be computed twice.
    """
    op = tensor.op
    if op.type not in _SAME_VALUES + _PRODUCTS or len(tensor.consumers()) != 1:
        return None
    first, *others = op.inputs
    if op.type in _SAME_VALUES:
        first = scaled_product(scale, first)
        return None if first is None else emit(op, [first, *others])[0]
    rows, columns = tensor.shape[-2:]
    (second,) = others
    # The factors share an axis; the smaller one has less of the other.
    if rows is not None and columns is not None and rows < columns:
        return emit(op, [scale * first, second])[0]
    return emit(op, [first, scale * second])[0]
