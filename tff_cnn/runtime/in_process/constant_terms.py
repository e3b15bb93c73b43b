"""Terms of a loop's steps that are the same in each: scaled once, before it.

A step of SGD along a corrected gradient (`local_rule.corrected`),

  w - rate * (x'd + b + pull * w),

passes twelve times over an array as large as the weights, of which b is known
before the first step. Written as

  (1 - rate * pull) w + (-rate x)'d + (-rate b)

with the last term from before the loop it passes seven times, five without the
pull. Where gradients are not corrected `late_products` needs fewer still.
"""

from collections.abc import Sequence

import tensorflow as tf

from tff_cnn.runtime.in_process.products import scaled_product
from tff_cnn.runtime.in_process.recording import plain


def hoist(old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    """Rewrites a recorded step of a variable, where it is of this kind.

    Results may differ in their last bits.

    Args:
      old: The variable before the step, in the graph of the loop's body, which
        is the default graph.
      new: After it.

    Returns:
      `new`, or the same otherwise computed.
    """
    difference = plain(new).op
    if difference.type != "Sub" or plain(difference.inputs[0]) is not old:
        return new
    found = _rate_and_sum(difference.inputs[1])
    if found is None:
        return new
    rate, terms = found
    outer_rate = _before_the_loop(rate)
    if outer_rate is None:
        return new
    later = _terms(old, rate, outer_rate, terms)
    return new if later is None else tf.add_n(later)


def _rate_and_sum(
    step: tf.Tensor,
) -> tuple[tf.Tensor, Sequence[tf.Tensor]] | None:
    """(rate, terms) of rate * add_n(terms)."""
    multiplication = plain(step).op
    if multiplication.type != "Mul":
        return None
    first, second = multiplication.inputs
    for rate, total in ((first, second), (second, first)):
        if rate.shape.rank == 0 and plain(total).op.type == "AddN":
            return rate, plain(total).op.inputs
    return None


def _terms(
    old: tf.Tensor,
    rate: tf.Tensor,
    outer_rate: tf.Tensor,
    terms: Sequence[tf.Tensor],
) -> list[tf.Tensor] | None:
    """What the variable after the step is the sum of; None if no term is the
    same in all steps, or one is something else than those of the module.
    """
    kept, later, has_constant = old, [], False
    for term in terms:
        constant = _before_the_loop(term)
        pull = _pull(term, old)
        if constant is not None:
            has_constant = True
            with tf.compat.v1.get_default_graph().outer_graph.as_default():
                later.append(-outer_rate * constant)
        elif pull is not None:
            kept = (1.0 - rate * pull) * kept
        else:
            product = scaled_product(-rate, term)
            if product is None:
                return None
            later.append(product)
    return [kept, *later] if has_constant else None


def _pull(term: tf.Tensor, old: tf.Tensor) -> tf.Tensor | None:
    """The scalar of a term scalar * old."""
    op = plain(term).op
    if op.type == "Mul":
        first, second = op.inputs
        for scalar, tensor in ((first, second), (second, first)):
            if scalar.shape.rank == 0 and plain(tensor) is old:
                return scalar
    return None


def _before_the_loop(tensor: tf.Tensor) -> tf.Tensor | None:
    """The tensor of the graph around the loop that this one of its body is;
    None if steps compute it.
    """
    tensor = plain(tensor)
    body = tf.compat.v1.get_default_graph()
    if tensor.op.type == "Const":
        value = tf.make_ndarray(tensor.op.get_attr("value"))
        with body.outer_graph.as_default():
            return tf.constant(value)
    for outer, inner in body.captures:
        if inner is tensor:
            return outer
    return None
