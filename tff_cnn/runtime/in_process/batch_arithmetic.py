"""Rules of `vectorize` for arithmetic: of entries, sums and products."""

import string

import tensorflow as tf

from tff_cnn.runtime.in_process.batch_values import (
    aligned,
    check_channels_last,
    merged,
    registers,
    shifted,
    unstacked,
)
from tff_cnn.runtime.in_process.recording import emit
from tff_cnn.runtime.in_process.tensor_lists import as_handle, as_result
from tff_cnn.runtime.in_process.vectorize import Rule

RULES: dict[str, Rule] = {}
_rule = registers(RULES)


@_rule(
    *"Add AddV2 Sub Mul MulNoNan RealDiv Div DivNoNan FloorDiv FloorMod Mod"
    " TruncateDiv TruncateMod Maximum Minimum Pow SquaredDifference Xlogy"
    " Xlog1py Xdivy Atan2 NextAfter Greater GreaterEqual Less LessEqual Equal"
    " NotEqual ApproximateEqual LogicalAnd LogicalOr BitwiseAnd BitwiseOr"
    " BitwiseXor LeftShift RightShift SelectV2".split()
)
def _broadcasting(walk, op, arguments):
    return emit(op, aligned(walk, arguments))


@_rule(
    *"LogicalNot Invert Neg Abs Sign Exp Expm1 Log Log1p Sqrt Rsqrt Square"
    " Reciprocal Inv Tanh Sigmoid Sin Cos Tan Sinh Cosh Asin Acos Atan Asinh"
    " Acosh Atanh Erf Erfc Erfinv Ndtri Lgamma Digamma Relu Relu6 Elu Selu"
    " LeakyRelu Softplus Softsign Floor Ceil Round Rint IsFinite IsNan IsInf"
    " Cast Identity Snapshot StopGradient PreventGradient CheckNumerics"
    " ZerosLike OnesLike Softmax LogSoftmax TanhGrad SigmoidGrad ReluGrad"
    " Relu6Grad EluGrad SeluGrad LeakyReluGrad SoftplusGrad SoftsignGrad"
    " RsqrtGrad SqrtGrad ReciprocalGrad InvGrad AddN Bitcast".split()
)
def _elementwise(walk, op, arguments):
    """Operations on each entry of one input, or of several of one shape."""
    tensors = [walk.stacked(argument) for argument in arguments]
    if tensors[0].dtype == tf.variant:
        (result,) = emit(op, [as_handle(tensor) for tensor in tensors])
        return [as_result(result)]
    return emit(op, tensors)


@_rule("IdentityN")
def _identities(walk, op, arguments):
    return [tf.identity(walk.stacked(argument)) for argument in arguments]


@_rule("ClipByValue")
def _clip_by_value(walk, op, arguments):
    value, low, high = aligned(walk, arguments)
    return [tf.maximum(tf.minimum(value, high), low)]


@_rule("Select")
def _select(walk, op, arguments):
    """Its condition is of the others' shape, or has their first axes."""
    condition, *choices = arguments
    tensor = walk.stacked(condition)
    for _ in range(choices[0].rank - condition.rank):
        tensor = tf.expand_dims(tensor, -1)
    return [tf.where(tensor, *map(walk.stacked, choices))]


@_rule(
    *"Sum Mean Prod Max Min All Any EuclideanNorm ArgMax ArgMin Cumsum Cumprod"
    " CumulativeLogsumexp ReverseV2 ExpandDims".split()
)
def _along_axes(walk, op, arguments):
    value, axis = arguments
    axis = shifted(unstacked(op, axis))
    return emit(op, [walk.stacked(value), axis])


@_rule("L2Loss")
def _l2_loss(walk, op, arguments):
    (value,) = arguments
    axes = list(range(1, value.rank + 1))
    return [tf.reduce_sum(tf.square(value.tensor), axes) / 2]


@_rule("MatMul")
def _matmul(walk, op, arguments):
    left, right = arguments
    transpose_a, transpose_b = (
        op.get_attr("transpose_a"),
        op.get_attr("transpose_b"),
    )
    return [
        tf.linalg.matmul(left.tensor, right.tensor, transpose_a, transpose_b)
    ]


@_rule("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def _batch_matmul(walk, op, arguments):
    left, right = aligned(walk, arguments)
    return [
        tf.linalg.matmul(
            left,
            right,
            adjoint_a=op.get_attr("adj_x"),
            adjoint_b=op.get_attr("adj_y"),
        )
    ]


@_rule("Einsum")
def _einsum(walk, op, arguments):
    """The clients are one more label."""
    equation = op.get_attr("equation").decode()
    clients = next(x for x in string.ascii_letters if x not in equation)
    inputs, output = equation.split("->")
    terms = [
        clients + term if argument.is_stacked else term
        for term, argument in zip(inputs.split(","), arguments, strict=True)
    ]
    whole = f"{','.join(terms)}->{clients}{output}"
    return emit(
        op,
        [argument.tensor for argument in arguments],
        equation=tf.compat.v1.AttrValue(s=whole.encode()),
    )


@_rule("BiasAdd", "BiasAddV1")
def _bias_add(walk, op, arguments):
    value, bias = arguments
    if op.type == "BiasAdd":
        check_channels_last(op)
    if not bias.is_stacked:
        return emit(op, [value.tensor, bias.tensor])
    # All but the channels as one axis: broadcasting is faster at low rank.
    value = walk.stacked(value)
    channels = value.shape[-1]
    flat = tf.reshape(value, [walk.size, -1, channels])
    total = flat + tf.expand_dims(bias.tensor, 1)
    return [tf.reshape(total, tf.shape(value))]


@_rule("BiasAddGrad")
def _bias_add_grad(walk, op, arguments):
    (value,) = arguments
    check_channels_last(op)
    return [tf.reduce_sum(value.tensor, list(range(1, value.rank)))]


@_rule("SparseSoftmaxCrossEntropyWithLogits", "SoftmaxCrossEntropyWithLogits")
def _cross_entropy(walk, op, arguments):
    """Losses and gradients of rows: more rows."""
    tensors = [walk.stacked(argument) for argument in arguments]
    lead = tf.shape(tensors[0])[:2]
    losses, gradients = emit(op, [merged(tensor) for tensor in tensors])
    return [
        tf.reshape(losses, lead),
        tf.reshape(gradients, tf.shape(tensors[0])),
    ]
