"""The copy of a model that is trained: its dropout is a function of a seed.

Keras' dropout draws from a generator of its own, which is state, and no two
clients could draw alike again.
"""

import types
from collections.abc import Mapping

import tensorflow as tf

from tff_cnn.core.errors import UsageError

# Axes of [batch, space, ..., channels] along which spatial dropout keeps or
# drops all at once.
_SPATIAL = {
    tf.keras.layers.SpatialDropout1D: 1,
    tf.keras.layers.SpatialDropout2D: 2,
    tf.keras.layers.SpatialDropout3D: 3,
}


class SeededDropout(tf.keras.layers.Layer):
    """Dropout whose mask is a function of `seed`: set it before each call.

    Without a seed, as while Keras builds a model, it does nothing.
    """

    def __init__(self, dropout: tf.keras.layers.Dropout, dtype: str):
        """Takes the place of `dropout`, spatial or with a noise shape."""
        super().__init__(name=dropout.name, dtype=dtype)
        self._rate = dropout.rate
        self._noise_shape = dropout.noise_shape
        self._spatial_axes = range(0)
        if type(dropout) in _SPATIAL:
            first_axis = 1
            if getattr(dropout, "data_format", None) == "channels_first":
                first_axis = 2
            self._spatial_axes = range(
                first_axis, first_axis + _SPATIAL[type(dropout)]
            )
        self.seed: tf.Tensor | None = None

    def call(self, inputs):
        if self.seed is None:
            return inputs
        return tf.nn.experimental.stateless_dropout(
            inputs,
            rate=self._rate,
            seed=self.seed,
            noise_shape=self._mask_shape(inputs),
        )

    def _mask_shape(self, inputs):
        shape = tf.unstack(tf.shape(inputs))
        for axis, size in enumerate(self._noise_shape or ()):
            shape[axis] = shape[axis] if size is None else size
        for axis in self._spatial_axes:
            shape[axis] = 1
        return tf.stack(shape)


def training_copy(
    keras_model: tf.keras.Model,
    compute_dtype: str,
    replaced: Mapping[type, type] = types.MappingProxyType({}),
) -> tf.keras.Model:
    """A copy, with variables of its own, in which dropout takes a seed.

    Args:
      keras_model: Sequential or functional, as are all models within it.
      compute_dtype: "float32", "bfloat16" or "float16".
      replaced: Which types of layers to replace by which others.

    Raises:
      UsageError: A layer that does not say what it was made of, by name.
    """
    policy = "float32"
    if compute_dtype != "float32":
        policy = f"mixed_{compute_dtype}"

    def clone_layer(layer):
        if isinstance(layer, tf.keras.Model):
            return training_copy(layer, compute_dtype, replaced)
        if type(layer) in (tf.keras.layers.Dropout, *_SPATIAL):
            return SeededDropout(layer, policy)
        kind = replaced.get(type(layer), type(layer))
        try:
            return kind.from_config({**layer.get_config(), "dtype": policy})
        except (NotImplementedError, TypeError) as error:
            raise UsageError(
                f"{type(layer).__name__} layer {layer.name!r} cannot be copied "
                f"({str(error).splitlines()[0]}): give it a get_config with "
                "all arguments of its constructor, the base class's included."
            ) from error

    return tf.keras.models.clone_model(keras_model, clone_function=clone_layer)


def set_seeds(keras_model: tf.keras.Model, seed: tf.Tensor) -> None:
    """Gives each dropout of a training copy a seed that comes from `seed`."""
    dropouts = [x for x in layers_of(keras_model) if type(x) is SeededDropout]
    seeds = tf.random.split(seed, len(dropouts))
    for layer, own in zip(dropouts, tf.unstack(seeds), strict=True):
        layer.seed = own


def layers_of(keras_model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """All layers, those of models within it in the place of these."""
    layers = []
    for layer in keras_model.layers:
        is_model = isinstance(layer, tf.keras.Model)
        layers += layers_of(layer) if is_model else [layer]
    return layers
