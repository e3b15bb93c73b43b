"""Taps: what per-example gradients need to know of a model's linear layers.

The gradient of one example with respect to the kernel and bias of a
convolution or a dense layer is a sum over positions of products of the layer's
input with the gradient of its output before the activation (Goodfellow 2015,
"Efficient Per-Example Gradient Computations"; for convolutions Rochette et al.
2019). A tapped layer shows the first and adds a probe to the second: a tensor
of zeros, with respect to which the loss is differentiated.
"""

import dataclasses

import tensorflow as tf

from tff_cnn.core.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Tap:
    """A linear layer of a model.

    Attributes:
      layer: Its name.
      kernel: Index of its kernel in the model's trainable weights.
      bias: Index of its bias there; None without.
      output_shape: Of its output, [None, ..., channels].
      kernel_shape: [inputs, outputs], or of a convolution [height, width,
        channels in, channels out].
      strides, dilation, padding: Of a convolution ("SAME" or "VALID").
    """

    layer: str
    kernel: int
    bias: int | None
    output_shape: tuple[int | None, ...]
    kernel_shape: tuple[int, ...]
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: str = "VALID"

    @property
    def is_convolution(self) -> bool:
        return len(self.kernel_shape) == 4


class _Tapped:
    """A layer that shows its input and adds a probe to its linear output.

    Without a probe, as while Keras builds a model, it is the plain layer.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.probe: tf.Tensor | None = None
        self.seen: tf.Tensor | None = None
        activation = self.activation
        self.activation = lambda linear: activation(
            linear if self.probe is None else linear + self.probe
        )

    def call(self, inputs):
        self.seen = inputs
        return super().call(inputs)


class TappedConv2D(_Tapped, tf.keras.layers.Conv2D):
    """A convolution with a tap."""


class TappedDense(_Tapped, tf.keras.layers.Dense):
    """A dense layer with a tap."""


TAPPED = {
    tf.keras.layers.Conv2D: TappedConv2D,
    tf.keras.layers.Dense: TappedDense,
}


def taps_of(model: tf.keras.Model) -> tuple[Tap, ...]:
    """The taps of all layers with weights, in the order of the layers.

    Args:
      model: Plain or tapped.

    Raises:
      UsageError: Naming the first layer for which there is none.
    """
    index = {id(v): i for i, v in enumerate(model.trainable_variables)}
    taps = []
    for layer in model.layers:
        if not layer.trainable_weights:
            continue
        _check(layer)
        geometry = {}
        if isinstance(layer, tf.keras.layers.Conv2D):
            geometry = {
                "strides": tuple(layer.strides),
                "dilation": tuple(layer.dilation_rate),
                "padding": layer.padding.upper(),
            }
        taps.append(
            Tap(
                layer.name,
                index[id(layer.kernel)],
                index[id(layer.bias)] if layer.use_bias else None,
                tuple(layer.output_shape),
                tuple(layer.kernel.shape),
                **geometry,
            )
        )
    return tuple(taps)


def _check(layer: tf.keras.layers.Layer) -> None:
    """Exact types: a subclass may compute something else."""
    name = f"{type(layer).__name__} layer {layer.name!r}"
    if type(layer) not in (*TAPPED, *TAPPED.values()):
        raise UsageError(
            f"{name} has weights whose gradients cannot be clipped example by "
            "example: use Conv2D and Dense layers, or <example_dp>=none."
        )
    if len(layer.inbound_nodes) != 1:
        raise UsageError(
            f"{name} is used {len(layer.inbound_nodes)} times, and the norm "
            "of its gradient is not known from its uses one by one: use a "
            "layer for each, or <example_dp>=none."
        )
    if isinstance(layer, tf.keras.layers.Conv2D) and (
        layer.groups != 1 or layer.data_format != "channels_last"
    ):
        raise UsageError(
            f"{name} has groups={layer.groups} and data_format="
            f"{layer.data_format!r}: clipping example by example needs one "
            "group and channels_last, or <example_dp>=none."
        )
