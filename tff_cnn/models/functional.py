"""The one place where a Keras model becomes a TFF model.

A TFF functional model is a pure function of (weights, batch), but Keras layers
own variables, and Dropout draws from a generator of its own. So the model is
called once, eagerly, with seeded dropout layers, and the recorded graph is cut
where it reads variables: there the given weights go in. (TFF's own
`functional_model_from_keras` builds Keras layers inside the TensorFlow graph
of a computation instead, which switches Keras' classes to their TF 1 versions
and so breaks every Keras model that the program holds.)
"""

import collections
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.core.errors import UsageError
from tff_cnn.models import taps, validators


class _SeededDropout(tf.keras.layers.Layer):
    """Dropout whose mask is a function of `seed`: set it before each call.

    Without a seed, as while Keras builds a model, it does nothing.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self._rate = rate
        self.seed: tf.Tensor | None = None

    def call(self, inputs):
        if self.seed is None:
            return inputs
        return tf.nn.experimental.stateless_dropout(
            inputs, rate=self._rate, seed=self.seed
        )


class SeededFunctionalModel(tff.learning.models.FunctionalModel):
    """A TFF functional model whose forward pass can be given its seed.

    Usable wherever TFF takes a functional model; there, dropout draws a new
    mask from TensorFlow's unseeded generator, as it does in Keras.
    """

    def __init__(
        self,
        forward: Callable[..., tf.Tensor],
        make_tapped: Callable[[], tuple],
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._forward = forward
        self._make_tapped = make_tapped

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
          seed: int32, [2]; fixes the dropout masks, and is unused by models
            without dropout.
        """
        return self._forward(trainable_weights, images, seed)

    @staticmethod
    def example_losses(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """The loss of each example, [batch], of which `loss` is the mean."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=labels, logits=logits
        )

    def tapped(self) -> tuple[tuple[taps.Tap, ...], Callable]:
        """The model's taps, and its forward pass that uses them.

        That is a function (trainable weights, images, seed, probes) ->
        (logits, inputs), in training mode: `probes` are zeros, one tensor for
        each tap in the shape of its output, to differentiate with respect to;
        `inputs` are those of the tapped layers.

        Raises:
          UsageError: A layer with weights that has no tap, by name.
        """
        return self._make_tapped()


# Loss scale of float16, whose smallest number is 6e-8: gradients below that
# vanish. Micikevicius et al. 2018 ("Mixed Precision Training", section 3.2)
# use 8 to 32,768.
_FLOAT16_LOSS_SCALE = 1024.0


def from_keras(
    keras_model: tf.keras.Model, compute_dtype: str = "float32"
) -> SeededFunctionalModel:
    """Wraps a Keras classifier (images -> logits) with its loss and metrics.

    The loss is sparse softmax cross-entropy, averaged over the batch. The
    metrics `loss` and `accuracy` are means over examples (NaN over none). The
    initial weights are the current ones of `keras_model`.

    Args:
      keras_model: float32; its variables are not used afterwards.
      compute_dtype: "float32", "bfloat16" or "float16": of the forward and
        backward passes in training. Weights, logits, gradients and updates
        are float32; with float16 the loss is scaled on the way back.

    Raises:
      UsageError: The model keeps state besides its trainable weights.
    """
    validators.check_trainable_statelessly(keras_model)
    initial_weights = tuple(v.numpy() for v in keras_model.trainable_variables)

    train_forward = _pure_call(_training_copy(keras_model, compute_dtype), True)
    if compute_dtype == "float16":
        train_forward = _with_loss_scale(train_forward, _FLOAT16_LOSS_SCALE)
    test_forward = _pure_call(keras_model, False)

    @tf.function
    def predict_on_batch(model_weights, x, training=True):
        trainable, _ = model_weights
        if not training:
            return test_forward(trainable, x, tf.zeros([2], tf.int32))
        seed = tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
        return train_forward(trainable, x, seed)

    def make_tapped():
        found = taps.taps_of(keras_model)
        copy = _training_copy(keras_model, "float32", taps.TAPPED)
        return found, _pure_tapped_call(copy)

    return SeededFunctionalModel(
        forward=train_forward,
        make_tapped=make_tapped,
        initial_weights=(initial_weights, ()),
        predict_on_batch_fn=predict_on_batch,
        loss_fn=_cross_entropy,
        metrics_fns=(
            _initialize_metrics,
            _update_metrics,
            _finalize_metrics,
        ),
        input_spec=(
            tf.TensorSpec(keras_model.input_shape, tf.float32),
            tf.TensorSpec([None], tf.int32),
        ),
    )


def _training_copy(
    keras_model: tf.keras.Model,
    compute_dtype: str,
    replaced: Mapping[type, type] = types.MappingProxyType({}),
) -> tf.keras.Model:
    """A copy, with variables of its own, in which dropout takes a seed.

    `replaced` says which types of layers to replace by which others.
    """
    policy = "float32"
    if compute_dtype != "float32":
        policy = f"mixed_{compute_dtype}"

    def clone_layer(layer):
        if isinstance(layer, tf.keras.layers.Dropout):
            return _SeededDropout(layer.rate, name=layer.name, dtype=policy)
        kind = replaced.get(type(layer), type(layer))
        return kind.from_config({**layer.get_config(), "dtype": policy})

    return tf.keras.models.clone_model(keras_model, clone_function=clone_layer)


def _pure_call(
    keras_model: tf.keras.Model, training: bool
) -> Callable[..., tf.Tensor]:
    """`keras_model` as a function (weights, images, seed) -> logits."""

    def call(images, seed):
        _seed_dropouts(keras_model, seed)
        return tf.cast(keras_model(images, training=training), tf.float32)

    pure = _pure(keras_model, call)
    return lambda weights, images, seed: pure(weights, [images, seed])


def _pure_tapped_call(keras_model: tf.keras.Model) -> Callable[..., tuple]:
    """See `SeededFunctionalModel.tapped`; of a copy with tapped layers."""
    tapped = [
        layer
        for layer in keras_model.layers
        if isinstance(layer, tuple(taps.TAPPED.values()))
    ]

    def call(images, seed, *probes):
        _seed_dropouts(keras_model, seed)
        for layer, probe in zip(tapped, probes, strict=True):
            layer.probe = probe
        logits = keras_model(images, training=True)
        return logits, [layer.seen for layer in tapped]

    probe_specs = [tf.TensorSpec(layer.output_shape) for layer in tapped]
    pure = _pure(keras_model, call, probe_specs)
    return lambda weights, images, seed, probes: pure(
        weights, [images, seed, *probes]
    )


def _seed_dropouts(keras_model: tf.keras.Model, seed: tf.Tensor) -> None:
    dropouts = (x for x in keras_model.layers if isinstance(x, _SeededDropout))
    for index, layer in enumerate(dropouts):
        layer.seed = tf.random.experimental.stateless_fold_in(seed, index)


def _pure(
    keras_model: tf.keras.Model, call: Callable, further_specs: Sequence = ()
) -> Callable:
    """`call` as a function (weights, arguments) that owns no variables.

    `call` takes images, a seed, and what has `further_specs`.
    """
    specs = [
        tf.TensorSpec(keras_model.input_shape, tf.float32),
        tf.TensorSpec([2], tf.int32),
        *further_specs,
    ]
    wrapped = tf.compat.v1.wrap_function(call, specs)
    reads, read_indices = _variable_reads(
        wrapped.graph, keras_model.trainable_variables
    )
    pure = _cut(
        wrapped.graph,
        feeds=[*wrapped.inputs[: len(specs)], *reads],
        fetches=wrapped.structured_outputs,
    )

    def function(weights, arguments):
        arguments = [*arguments, *(weights[index] for index in read_indices)]
        return pure(*map(tf.convert_to_tensor, arguments))

    return function


def _with_loss_scale(forward: Callable[..., tf.Tensor], scale: float):
    """`forward` whose inner gradients are `scale` times as large."""

    def times(factor):
        @tf.custom_gradient
        def identity(x):
            return tf.identity(x), lambda gradient: gradient * factor

        return identity

    def scaled(weights, images, seed):
        weights = [times(1 / scale)(weight) for weight in weights]
        return times(scale)(forward(weights, images, seed))

    return scaled


def _variable_reads(graph, variables) -> tuple[list[tf.Tensor], list[int]]:
    """Where `graph` reads `variables`: the tensors read, and of which."""
    index_of_handle = {}
    for captured, placeholder in graph.captures:
        for index, variable in enumerate(variables):
            if captured is variable.handle:
                index_of_handle[placeholder.name] = index
    reads, read_indices = [], []
    for op in graph.get_operations():
        if op.type == "ReadVariableOp":
            reads.append(op.outputs[0])
            read_indices.append(index_of_handle[op.inputs[0].name])
        elif op.op_def.is_stateful and op.type != "Placeholder":
            raise UsageError(
                f"the model's operation {op.name!r} ({op.type}) keeps or draws "
                "state of its own: use layers that are functions of their "
                "weights and input (or Dropout, which is given a seed)."
            )
    return reads, read_indices


def _cut(graph, feeds: Sequence[tf.Tensor], fetches: Any) -> Callable[..., Any]:
    """The part of `graph` between tensors, as a function that owns nothing.

    The graph goes through its serialized form to be rid of the variables that
    it captured.
    """
    graph_def = graph.as_graph_def()
    imported = tf.compat.v1.wrap_function(
        lambda: tf.graph_util.import_graph_def(graph_def, name=""), []
    )
    imported_feeds = []
    for feed in feeds:
        tensor = imported.graph.get_tensor_by_name(feed.name)
        tensor.set_shape(feed.shape)  # The serialized form does not keep it.
        imported_feeds.append(tensor)
    return imported.prune(
        imported_feeds,
        tf.nest.map_structure(
            lambda fetch: imported.graph.get_tensor_by_name(fetch.name), fetches
        ),
    )


def _cross_entropy(output, label, sample_weight=None):
    """Mean sparse softmax cross-entropy of a batch.

    With `sample_weight` ([batch], zero for padding) the weighted mean; zero
    where all weights are.
    """
    losses = SeededFunctionalModel.example_losses(output, label)
    if sample_weight is None:
        return tf.reduce_mean(losses)
    return tf.math.divide_no_nan(
        tf.reduce_sum(losses * sample_weight), tf.reduce_sum(sample_weight)
    )


@tf.function
def _initialize_metrics():
    return collections.OrderedDict(
        loss=(tf.constant(0.0), tf.constant(0.0)),
        accuracy=(tf.constant(0.0), tf.constant(0.0)),
    )


@tf.function
def _update_metrics(state, labels, batch_output, sample_weight=None):
    """Adds a batch to (sum, number of examples) of each metric."""
    logits = batch_output.predictions
    if sample_weight is None:
        sample_weight = tf.ones_like(labels, tf.float32)
    num_examples = tf.reduce_sum(sample_weight)
    predicted = tf.argmax(logits, axis=-1, output_type=labels.dtype)
    num_correct = tf.reduce_sum(
        tf.cast(tf.equal(predicted, labels), tf.float32) * sample_weight
    )
    loss_sum, loss_count = state["loss"]
    correct_sum, correct_count = state["accuracy"]
    return collections.OrderedDict(
        loss=(
            loss_sum + batch_output.loss * num_examples,
            loss_count + num_examples,
        ),
        accuracy=(correct_sum + num_correct, correct_count + num_examples),
    )


@tf.function
def _finalize_metrics(state):
    return collections.OrderedDict(
        loss=state["loss"][0] / state["loss"][1],
        accuracy=state["accuracy"][0] / state["accuracy"][1],
    )
