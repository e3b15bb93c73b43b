"""What a model costs, layer by layer: the table before training.

FLOPs are those of one example's forward pass. A multiplication and an addition
count one each, so that a multiply-add counts two; so do a bias, an activation
(whatever it is), a pixel that is pooled and a number that is added to another.
Group and layer normalization count eight a number (one for the mean, three for
the variance, two for each of normalizing and scaling), batch normalization by
known statistics two. Padding counts as pixels do; reshaping, copying, and
dropout and augmentation, which do nothing in a forward pass, cost nothing. Of
layers that are not known, as those of a user's own, FLOPs are not known either.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf

from tff_cnn.models.trainable import named_layers

_K = tf.keras.layers


@dataclasses.dataclass(frozen=True)
class Row:
    """A layer, or several.

    Attributes:
      name: See `trainable.named_layers`.
      kind: Class of the layer.
      output_shape: Of one example; () of layers that give several tensors.
      parameters: Numbers in its weights.
      frozen: How many of them are not trained.
      flops: Of one example's forward pass, as far as they are known.
      activation_bytes: Of one example's outputs.
      is_known: Whether these are all FLOPs.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int
    frozen: int
    flops: int
    activation_bytes: int
    is_known: bool = True


def cost_table(
    model: tf.keras.Model, bytes_per_number: int = 4
) -> tuple[Row, ...]:
    """A row for each layer, those of inner models in their place.

    A layer that is used several times counts each time in FLOPs and bytes.

    Args:
      model: Sequential or functional.
      bytes_per_number: 4 in float32, 2 in bfloat16 and float16.
    """
    trained = {id(variable) for variable in model.trainable_weights}
    return tuple(
        _row(named.name, named.layer, trained, bytes_per_number)
        for named in named_layers(model)
    )


def _row(
    name: str, layer: Any, trained: set[int], bytes_per_number: int
) -> Row:
    sizes = {id(w): math.prod(w.shape) for w in layer.weights}
    uses = [
        (_shapes(node.input_shapes), _shapes(node.output_shapes))
        for node in layer.inbound_nodes
    ]
    numbers = sum(math.prod(s) for _, outputs in uses for s in outputs)
    flops = [_flops(layer, *use) for use in uses]
    outputs = uses[0][1] if uses else []
    return Row(
        name,
        type(layer).__name__,
        outputs[0] if len(outputs) == 1 else (),
        sum(sizes.values()),
        sum(size for key, size in sizes.items() if key not in trained),
        sum(count or 0 for count in flops),
        bytes_per_number * numbers,
        None not in flops,
    )


def _shapes(found: Any) -> list[tuple[int, ...]]:
    """Of single examples; a size that is not known counts one."""
    if not isinstance(found, list):
        found = [found]
    return [tuple(size or 1 for size in shape[1:]) for shape in found]


def _flops(layer: Any, inputs: list, outputs: list) -> int | None:
    for kinds, count in _COUNTS:
        if isinstance(layer, kinds):
            return int(count(layer, inputs, outputs))
    return None


def _kernel(layer: Any, inputs: list, outputs: list) -> int:
    """A convolution: each output number has all of a kernel's inputs."""
    per_output = math.prod(layer.kernel.shape[:-1])
    return math.prod(outputs[0]) * (2 * per_output + _after(layer))


def _transposed(layer: Any, inputs: list, outputs: list) -> int:
    """Each input number goes into all outputs of a kernel."""
    per_input = math.prod(layer.kernel.shape[:-1])
    return 2 * math.prod(inputs[0]) * per_input + (
        math.prod(outputs[0]) * _after(layer)
    )


def _depthwise(layer: Any, inputs: list, outputs: list) -> int:
    per_output = math.prod(layer.kernel_size)
    return math.prod(outputs[0]) * (2 * per_output + _after(layer))


def _separable(layer: Any, inputs: list, outputs: list) -> int:
    """A depthwise convolution, and one of a pixel."""
    between = layer.pointwise_kernel.shape[-2]
    pixels = math.prod(outputs[0]) // layer.filters
    depthwise = 2 * pixels * between * math.prod(layer.kernel_size)
    return depthwise + math.prod(outputs[0]) * (2 * between + _after(layer))


def _dense(layer: Any, inputs: list, outputs: list) -> int:
    return math.prod(outputs[0]) * (2 * inputs[0][-1] + _after(layer))


def _after(layer: Any) -> int:
    """Bias and activation, a number."""
    is_linear = layer.activation is tf.keras.activations.linear
    return bool(layer.use_bias) + (not is_linear)


def _pool(layer: Any, inputs: list, outputs: list) -> int:
    size = layer.pool_size
    window = math.prod(size) if isinstance(size, Iterable) else size
    return math.prod(outputs[0]) * window


def _each_input(factor: int) -> Callable[..., int]:
    return lambda layer, inputs, outputs: factor * math.prod(inputs[0])


def _merge(layer: Any, inputs: list, outputs: list) -> int:
    return (len(inputs) - 1) * math.prod(outputs[0])


def _activation(layer: Any, inputs: list, outputs: list) -> int:
    is_linear = layer.activation is tf.keras.activations.linear
    return 0 if is_linear else math.prod(outputs[0])


# The first that a layer is of counts; subclasses stand before their bases.
_COUNTS = (
    ((_K.Conv1DTranspose, _K.Conv2DTranspose, _K.Conv3DTranspose), _transposed),
    ((_K.DepthwiseConv1D, _K.DepthwiseConv2D), _depthwise),
    ((_K.SeparableConv1D, _K.SeparableConv2D), _separable),
    ((_K.Conv1D, _K.Conv2D, _K.Conv3D), _kernel),
    (_K.Dense, _dense),
    ((_K.MaxPool1D, _K.MaxPool2D, _K.MaxPool3D), _pool),
    ((_K.AveragePooling1D, _K.AveragePooling2D, _K.AveragePooling3D), _pool),
    (
        (
            _K.GlobalAveragePooling1D,
            _K.GlobalAveragePooling2D,
            _K.GlobalAveragePooling3D,
            _K.GlobalMaxPool1D,
            _K.GlobalMaxPool2D,
            _K.GlobalMaxPool3D,
        ),
        _each_input(1),
    ),
    ((_K.GroupNormalization, _K.LayerNormalization), _each_input(8)),
    ((_K.BatchNormalization, _K.Rescaling), _each_input(2)),
    ((_K.Add, _K.Subtract, _K.Multiply, _K.Average, _K.Maximum), _merge),
    (_K.Activation, _activation),
    (
        (_K.ReLU, _K.LeakyReLU, _K.PReLU, _K.ELU, _K.Softmax),
        _each_input(1),
    ),
    (
        (
            _K.Flatten,
            _K.Reshape,
            _K.Permute,
            _K.Concatenate,
            _K.ZeroPadding1D,
            _K.ZeroPadding2D,
            _K.ZeroPadding3D,
            _K.Cropping1D,
            _K.Cropping2D,
            _K.Cropping3D,
            _K.UpSampling1D,
            _K.UpSampling2D,
            _K.Dropout,
            _K.SpatialDropout1D,
            _K.SpatialDropout2D,
            _K.SpatialDropout3D,
            _K.GaussianNoise,
            _K.GaussianDropout,
        ),
        _each_input(0),
    ),
)

_LONGEST = 40
_HEADINGS = ("layer", "output", "parameters", "FLOPs", "activations")


def describe_model(
    model: tf.keras.Model,
    clients: float = 1,
    bytes_per_number: int = 4,
    traffic: tuple[int, ...] | None = None,
) -> str:
    """The table of `cost_table` as a text, with what a round sends.

    Args:
      model: Sequential or functional; what is frozen in it is not sent.
      clients: Expected in a round.
      bytes_per_number: As of `cost_table`.
      traffic: As of `render`.
    """
    rows = cost_table(model, bytes_per_number)
    return render(model.name, rows, clients, traffic=traffic)


def render(
    name: str,
    rows: Sequence[Row],
    clients: float,
    longest: int = _LONGEST,
    traffic: tuple[int, ...] | None = None,
) -> str:
    """The table, and below it totals and what a round sends.

    Args:
      name: Of the model.
      rows: Of `cost_table`.
      clients: Expected in a round.
      longest: Lines for layers: where there are more, those that follow one
        another and whose names begin alike (up to a "_" or "/") share one, and
        if need be those in the middle too.
      traffic: Bytes to a client in a round, and back; None is FedAvg's: the
        trained weights, and as many numbers back with a weight. () tells
        nothing of it.
    """
    total = _sum("total", rows)
    sent = total.parameters - total.frozen
    lines = [_HEADINGS]
    lines += [_cells(row) for row in _shortened(rows, longest)]
    lines.append(_cells(total))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [_aligned(line, widths) for line in lines]
    told = f"Of {total.parameters:,} parameters {sent:,} are trained."
    if traffic != ():
        down, up = traffic or (4 * sent, 4 * sent + 4)
        told += (
            f" A round sends {_bytes(down)} to\n"
            f"each client and {_bytes(up)} back: {_bytes(clients * down)} and "
            f"{_bytes(clients * up)} with {clients:g} of them."
        )
    return "\n".join([f"Model {name}, for one example:", *shown, told])


def _cells(row: Row) -> tuple[str, ...]:
    shape = "x".join(str(size) for size in row.output_shape)
    parameters = f"{row.parameters:,}" if row.parameters else ""
    if row.frozen:
        whole = row.frozen == row.parameters
        parameters += " frozen" if whole else f" ({row.frozen:,} frozen)"
    flops = [f"{row.flops:,}"] if row.flops else []
    flops += [] if row.is_known else ["?"]
    size = _bytes(row.activation_bytes)
    return row.name, shape, parameters, " + ".join(flops), size


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    left, *right = zip(cells, widths, strict=True)
    parts = [left[0].ljust(left[1]), *(c.rjust(w) for c, w in right)]
    return f"  {'  '.join(parts)}".rstrip()


def _shortened(rows: Sequence[Row], longest: int) -> Sequence[Row]:
    depth = max(len(_parts(row)) for row in rows)
    merged = rows
    while len(merged) > longest and depth > 1:
        depth -= 1
        merged = _blocks(rows, depth)
    if len(merged) > longest:
        head = (longest - 1) // 2
        tail = len(merged) - (longest - 1 - head)
        middle = _sum(f"... {tail - head} more", merged[head:tail])
        merged = [*merged[:head], middle, *merged[tail:]]
    return merged


def _blocks(rows: Sequence[Row], depth: int) -> list[Row]:
    """Rows that follow one another, with `depth` parts in common, are one."""
    groups = itertools.groupby(rows, lambda row: _parts(row)[:depth])
    found = [(parts, list(members)) for parts, members in groups]
    return [
        _sum("".join(parts).rstrip("_/"), members)
        if len(members) > 1
        else members[0]
        for parts, members in found
    ]


def _parts(row: Row) -> list[str]:
    """Of a name, each with the "_" or "/" that ends it; numbers are none."""
    return re.split(r"(?<=[_/])(?!\d+$)", row.name)


def _sum(name: str, rows: Sequence[Row]) -> Row:
    """Several layers as one."""
    return Row(
        name,
        "",
        () if name == "total" else rows[-1].output_shape,
        sum(row.parameters for row in rows),
        sum(row.frozen for row in rows),
        sum(row.flops for row in rows),
        sum(row.activation_bytes for row in rows),
        all(row.is_known for row in rows),
    )


def _bytes(number: float) -> str:
    if number < 1000:
        return f"{number:.0f} B"
    for unit in ("kB", "MB"):
        number /= 1000
        if number < 1000:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} GB"
