"""Products of low rank that a loop subtracts late, those of several steps at
once.

A step of SGD on a dense layer, w - x'd, has the rank of its batch, but passes
over all the weights, megabytes of them, to write the product and to subtract
it. A loop can keep the factors instead, rows of X and D: its weights are
w - X'D, and what a step multiplies by them is

  a (w - X'D) = a w - (a X') D.

Once X and D have enough rows they are subtracted in one product. The results
differ in their last bits.
"""

from collections.abc import Sequence

import tensorflow as tf

from tff_cnn.runtime.in_process import constant_terms
from tff_cnn.runtime.in_process.recording import plain, replace

# Smaller weights stay in a cache close to the core, where passes cost nothing.
_MIN_ELEMENTS = 1 << 18
# More rows are subtracted: what they cost each step grows with them.
_MAX_ROWS = 120


class LateProducts:
    """What a loop has not yet subtracted from its variables.

    Attributes:
      factors: X and D of each variable before the first step, without rows.
      shapes: Of `factors`, in every step.
    """

    def __init__(self, variables: Sequence[tf.Tensor | None]):
        """Args:
        variables: Of the loop; None for those that have to be kept whole.
        """
        self._count = len(variables)
        self._chosen = [
            i for i, v in enumerate(variables) if v is not None and _fits(v)
        ]
        self._is_used = [False] * len(self._chosen)
        sizes = [size for i in self._chosen for size in variables[i].shape]
        self.factors = [tf.zeros([0, size]) for size in sizes]
        self.shapes = [tf.TensorShape([None, size]) for size in sizes]

    def split(
        self, carried: Sequence[tf.Tensor]
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Variables and factors, of what the loop carries."""
        carried = list(carried)
        return carried[: self._count], carried[self._count :]

    def step(
        self,
        old: Sequence[tf.Tensor],
        new: Sequence[tf.Tensor],
        factors: Sequence[tf.Tensor],
    ) -> list[tf.Tensor]:
        """Rewrites a recorded step.

        A variable is kept whole where the step does more than to multiply by
        it and to subtract a product of few rows from it (`constant_terms`).

        Args:
          old: Variables before the step, of which X'D is not subtracted.
          new: What the step makes of `old`, as if they were whole.
          factors: Before the step.

        Returns:
          Variables and factors after the step.
        """
        new, factors = list(new), list(factors)
        for number, index in enumerate(self._chosen):
            pair = slice(2 * number, 2 * number + 2)
            later = _later(old[index], new[index], factors[pair])
            if later is None:
                new[index] = constant_terms.hoist(old[index], new[index])
            else:
                self._is_used[number] = True
                new[index], *factors[pair] = later
        return new + factors

    def end(
        self, variables: Sequence[tf.Tensor], factors: Sequence[tf.Tensor]
    ) -> list[tf.Tensor]:
        """The variables after the last step, whole."""
        whole = list(variables)
        for number, index in enumerate(self._chosen):
            if self._is_used[number]:
                pair = factors[2 * number : 2 * number + 2]
                whole[index] = _subtract(whole[index], pair)
        return whole


def _fits(variable: tf.Tensor) -> bool:
    """Whether a variable is a matrix that is worth it."""
    return (
        variable.dtype == tf.float32
        and variable.shape.rank == 2
        and (variable.shape.num_elements() or 0) >= _MIN_ELEMENTS
    )


def _subtract(variable: tf.Tensor, factors: Sequence[tf.Tensor]) -> tf.Tensor:
    return variable - tf.matmul(*factors, transpose_a=True)


def _later(
    old: tf.Tensor, new: tf.Tensor, factors: Sequence[tf.Tensor]
) -> list[tf.Tensor] | None:
    """A variable and its factors after a step, if the step is of this kind."""
    difference = plain(new).op
    product = _subtracted(difference, old)
    products = [op for op in _readers(old) if op is not difference]
    if product is None or not all(_multiplies(op, old) for op in products):
        return None
    for op in products:
        _correct(op, *factors)
    more = [
        tf.concat([factor, rows], 0)
        for factor, rows in zip(factors, product.inputs, strict=True)
    ]
    return tf.cond(
        tf.shape(more[0])[0] >= _MAX_ROWS,
        lambda: [_subtract(old, more), *(factor[:0] for factor in more)],
        lambda: [old, *more],
    )


def _readers(tensor: tf.Tensor) -> list[tf.Operation]:
    """Operations on the value of a tensor, also on its copies."""
    found = []
    for op in tensor.consumers():
        found += _readers(op.outputs[0]) if op.type == "Identity" else [op]
    return found


def _subtracted(
    difference: tf.Operation, old: tf.Tensor
) -> tf.Operation | None:
    """The product x'd of few rows in old - x'd, where only the loop reads the
    difference; None if the operation is another thing.
    """
    if difference.type != "Sub" or _readers(difference.outputs[0]):
        return None
    first, second = map(plain, difference.inputs)
    product = second.op
    if (
        first is old
        and product.type == "MatMul"
        and product.get_attr("transpose_a")
        and not product.get_attr("transpose_b")
        and not any(plain(factor) is old for factor in product.inputs)
        and (product.inputs[0].shape[0] or 0) <= _MAX_ROWS // 2
    ):
        return product
    return None


def _multiplies(op: tf.Operation, weights: tf.Tensor) -> bool:
    """Whether an operation is a w, or a w', for these weights w."""
    return (
        op.type == "MatMul"
        and not op.get_attr("transpose_a")
        and plain(op.inputs[1]) is weights
        and plain(op.inputs[0]) is not weights
    )


def _correct(op: tf.Operation, left: tf.Tensor, right: tf.Tensor) -> None:
    """Lets those who read a w (or a w') read a (w - X'D) instead."""
    (result,) = op.outputs
    if op.get_attr("transpose_b"):
        left, right = right, left
    rows = tf.matmul(op.inputs[0], left, transpose_b=True)
    correction = tf.matmul(rows, right)
    users = result.consumers()
    replace(result, result - correction, users)
