"""The one place where a Keras model becomes a TFF model.

A TFF functional model is a pure function of (weights, batch), but Keras layers
own variables (`pure.py` takes them out), and Dropout draws from a generator of
its own (`seeded_layers.py` gives it a seed). What would not be trained as it
was built is refused (`validators.py`).
"""

from collections.abc import Callable, Sequence

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.models import (
    objectives,
    pure,
    seeded_layers,
    taps,
    trainable,
    validators,
)


class SeededFunctionalModel(tff.learning.models.FunctionalModel):
    """A TFF functional model whose forward pass can be given its seed.

    Usable wherever TFF takes a functional model; there, dropout draws a new
    mask from TensorFlow's unseeded generator, as it does in Keras.

    Attributes:
      weight_layers: Of each of `initial_weights[0]` the name of its layer.
    """

    def __init__(
        self,
        forward: Callable[..., tf.Tensor],
        make_tapped: Callable[[], tuple],
        make_image_forward: Callable[[], Callable[..., tf.Tensor]],
        objective: objectives.Objective,
        weight_layers: Sequence[str],
        **kwargs,
    ):
        super().__init__(
            loss_fn=objectives.batch_loss(objective),
            metrics_fns=objectives.metrics(objective),
            **kwargs,
        )
        self.weight_layers = tuple(weight_layers)
        self._objective = objective
        self._forward = forward
        self._make_tapped = make_tapped
        self._make_image_forward = make_image_forward

    def forward(
        self,
        trainable_weights: Sequence[tf.Tensor],
        images: tf.Tensor,
        seed: tf.Tensor,
    ) -> tf.Tensor:
        """Logits in training mode, differentiable in the weights.

        Args:
          trainable_weights: As in `initial_weights[0]`.
          images: float32, [batch, height, width, channels].
          seed: int32 or int64, [2]; fixes the dropout masks, and is unused by
            models without dropout.
        """
        return self._forward(trainable_weights, images, seed)

    def image_forward(self) -> Callable[..., tf.Tensor]:
        """`forward`, but differentiable in the images, and in them alone."""
        return self._make_image_forward()

    def example_losses(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """The loss of each example, [batch], of which `loss` is the mean."""
        return self._objective.example_losses(logits, labels)

    def tapped(self) -> tuple[tuple[taps.Tap, ...], Callable]:
        """The model's taps, and its forward pass that uses them: `taps.tap`.

        Raises:
          UsageError: A layer lets an example's output depend on others.
          NotTappedError: A layer with weights has no tap.
        """
        return self._make_tapped()


# Loss scale of float16, whose smallest number is 6e-8: gradients below that
# vanish. Micikevicius et al. 2018 ("Mixed Precision Training", section 3.2)
# use 8 to 32,768.
_FLOAT16_LOSS_SCALE = 1024.0


def from_keras(
    keras_model: tf.keras.Model,
    compute_dtype: str = "float32",
    objective: objectives.Objective = objectives.SOFTMAX,
) -> SeededFunctionalModel:
    """Wraps a Keras classifier (images -> logits) with its loss and metrics.

    The loss is that of the objective, averaged over the batch. The metrics
    `loss` and `accuracy` are means over examples (NaN over none). The initial
    weights are the current ones of `keras_model`.

    Args:
      keras_model: float32, sequential or functional; neither compiled loss nor
        its variables are used. What is frozen in it is a constant of the
        functional model, and not among its weights.
      compute_dtype: "float32", "bfloat16" or "float16": of the forward and
        backward passes in training. Weights, logits, gradients and updates
        are float32; with float16 the loss is scaled on the way back.
      objective: That fits its outputs: see `objectives.of`.

    Raises:
      UsageError: The model would not be trained as it was built: it keeps state
        besides its trainable weights, draws random numbers other than by
        dropout, adds to the loss, ends in probabilities, ...; naming the layer.
    """
    validators.check_form(keras_model)
    validators.check_trainable_statelessly(keras_model)
    validators.check_loss_is_all(keras_model)
    initial_weights = tuple(v.numpy() for v in keras_model.trainable_variables)

    test_forward = _pure_call(keras_model, False)
    validators.check_logits(keras_model, test_forward)
    copy = trainable.training_copy(keras_model, "float32")
    validators.check_copy(keras_model, test_forward, copy)
    if compute_dtype != "float32":
        copy = trainable.training_copy(keras_model, compute_dtype)

    def forward_in_training(in_images=False):
        forward = _pure_call(copy, True, in_images)
        if compute_dtype == "float16":
            return _with_loss_scale(forward, _FLOAT16_LOSS_SCALE)
        return forward

    train_forward = forward_in_training()

    @tf.function(autograph=False)
    def predict_on_batch(model_weights, x, training=True):
        weights, _ = model_weights
        if not training:
            return test_forward(weights, x, tf.zeros([2], tf.int64))
        seed = tf.random.uniform([2], maxval=tf.int64.max, dtype=tf.int64)
        return train_forward(weights, x, seed)

    return SeededFunctionalModel(
        forward=train_forward,
        make_tapped=lambda: taps.tap(keras_model),
        make_image_forward=lambda: forward_in_training(in_images=True),
        objective=objective,
        weight_layers=trainable.weight_layers(keras_model),
        initial_weights=(initial_weights, ()),
        predict_on_batch_fn=predict_on_batch,
        input_spec=(
            tf.TensorSpec(keras_model.input_shape, tf.float32),
            tf.TensorSpec(
                [None, *objective.label_shape(keras_model.output_shape[-1])],
                tf.int32,
            ),
        ),
    )


def _pure_call(
    keras_model: tf.keras.Model, training: bool, in_images: bool = False
) -> Callable[..., tf.Tensor]:
    """`keras_model` as a function (weights, images, seed) -> logits."""

    def call(images, seed):
        seeded_layers.set_seeds(keras_model, seed)
        return tf.cast(keras_model(images, training=training), tf.float32)

    function = pure.pure_function(keras_model, call, in_images=in_images)
    return lambda weights, images, seed: function(weights, [images, seed])


def _with_loss_scale(forward: Callable[..., tf.Tensor], scale: float):
    """`forward` whose inner gradients are `scale` times as large."""

    def times(factor):
        @tf.custom_gradient
        def identity(x):
            return tf.identity(x), lambda gradient: gradient * factor

        return identity

    def scaled(weights, images, seed):
        weights = [times(1 / scale)(weight) for weight in weights]
        images = times(1 / scale)(tf.convert_to_tensor(images))
        return times(scale)(forward(weights, images, seed))

    return scaled
