"""Refuses models that a federated run cannot train correctly."""

import tensorflow as tf

from tff_cnn.core.errors import UsageError

_NORMALIZERS_WITH_STATISTICS = (
    tf.keras.layers.BatchNormalization,
    tf.keras.layers.Normalization,
)


def check_trainable_statelessly(model: tf.keras.Model) -> None:
    """Raises unless all that training changes is in the trainable weights.

    Clients send updates of trainable weights only, and only those are clipped
    and noised: any other state would stay on the client, or leak around it.

    Raises:
      UsageError: Naming the first offending layer and the remedy.
    """
    for layer in model.layers:
        if isinstance(layer, _NORMALIZERS_WITH_STATISTICS):
            raise UsageError(
                f"{type(layer).__name__} layer {layer.name!r} keeps moving "
                "statistics that bypass aggregation, clipping and noise: use "
                "group normalization."
            )
        if layer.non_trainable_weights:
            raise UsageError(
                f"layer {layer.name!r} holds non-trainable state "
                f"{[w.name for w in layer.non_trainable_weights]} that no "
                "client update carries: make it trainable or remove it."
            )
    if not model.trainable_weights:
        raise UsageError(f"model {model.name!r} has nothing to train.")


def check_dimensions(
    model: tf.keras.Model, image_shape: tuple[int, ...], num_classes: int
) -> None:
    """Raises unless `model` maps such images to one logit a class."""
    expected = (None, *image_shape), (None, num_classes)
    found = tuple(model.input_shape), tuple(model.output_shape)
    if found != expected:
        raise UsageError(
            f"model {model.name!r} maps {found[0]} to {found[1]}, but the data "
            f"needs {expected[0]} to {expected[1]}."
        )
