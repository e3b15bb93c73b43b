"""A trained model made small: pruned, with weights of 8 bits, as TFLite.

    pruning  Han et al. 2015, section 3, in one shot: of all kernels together
             the given share of weights is set to zero, the smallest ones
    int8     Jacob et al. 2018 after training: kernels as 8-bit integers with a
             scale, which TFLite computes with; activations stay in float32, so
             that no examples are needed to calibrate them

Nothing here looks at an example, but to measure accuracy: what is made of a
private model is as private as that.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import to_json, write_atomically
from tff_cnn.data.examples import Stored
from tff_cnn.models.objectives import Objective
from tff_cnn.training import assembly, result
from tff_cnn.training.run_folder import RunFolder

_BATCH = 250


@dataclasses.dataclass(frozen=True)
class Shrunk:
    """A model, made small.

    Attributes:
      format: One of `run_folder.SHRUNK_FORMATS`.
      sparsity: Share of the kernels' weights that are zero, in [0, 1).
      content: The TFLite file.
      accuracy: On the examples that the run was evaluated on, in [0, 1].
    """

    format: str
    sparsity: float
    content: bytes
    accuracy: float

    @property
    def file_name(self) -> str:
        """Under `export/`."""
        sparse = f"-sparse{self.sparsity:g}" if self.sparsity else ""
        return f"model-{self.format}{sparse}.tflite"

    @property
    def num_bytes(self) -> int:
        return len(self.content)

    @property
    def num_zipped_bytes(self) -> int:
        """Deflated: as it travels, zeros costing next to nothing."""
        return len(zlib.compress(self.content, 9))


@dataclasses.dataclass(frozen=True, repr=False)
class Shrinkage:
    """A finished run's model, made small in several ways.

    As a text it is a table.

    Attributes:
      keras_bytes: Of the weights that the run has exported.
      accuracy: Of these, as the run's summary has it; in [0, 1].
      models: All that were made.
    """

    keras_bytes: int
    accuracy: float | None
    models: Sequence[Shrunk]

    @property
    def figures(self) -> dict[str, Any]:
        """The content of shrunk.json."""
        return {
            "weights_bytes": self.keras_bytes,
            "test_accuracy": self.accuracy,
            "models": [
                {
                    "file": found.file_name,
                    "format": found.format,
                    "sparsity": found.sparsity,
                    "bytes": found.num_bytes,
                    "zipped_bytes": found.num_zipped_bytes,
                    "test_accuracy": found.accuracy,
                }
                for found in self.models
            ],
        }

    def __repr__(self) -> str:
        head = f"  {'file':<32}{'bytes':>12}{'zipped':>12}{'accuracy':>10}"
        lines = [head, _line("weights, float32", self.keras_bytes, None)]
        lines[-1] += f"{self.accuracy:10.2%}" if self.accuracy else ""
        for found in self.models:
            line = _line(
                found.file_name, found.num_bytes, found.num_zipped_bytes
            )
            lines.append(f"{line}{found.accuracy:10.2%}")
        return "\n".join(lines)


def _line(name: str, size: int, zipped: int | None) -> str:
    shown = "" if zipped is None else f"{zipped:,}"
    return f"  {name:<32}{size:>12,}{shown:>12}"


def shrink_finished(
    config: RunConfig,
    folder: RunFolder,
    formats: Sequence[str],
    sparsities: Sequence[float],
) -> Shrinkage:
    """See `run.shrink`; nothing is written before all is made."""
    task = assembly.build_task(config)
    found = result.read(folder, config, None)
    ways = list(itertools.product(sparsities, formats))
    models = [
        shrink(found.model, format_, sparsity, task.evaluation, task.objective)
        for sparsity, format_ in tqdm.tqdm(ways, unit="model", leave=False)
    ]
    for made in models:
        write_atomically(folder.export / made.file_name, made.content)
    done = Shrinkage(
        sum(w.nbytes for w in found.model.get_weights()),
        found.summary.get("test_accuracy"),
        models,
    )
    write_atomically(folder.shrunk, to_json(done.figures, indent=2).encode())
    return done


def pruned(weights: Sequence[np.ndarray], sparsity: float) -> list[np.ndarray]:
    """Weights whose smallest ones, of all kernels together, are zero.

    Args:
      weights: Of a model; those of less than two axes, as biases, stay.
      sparsity: Share of the others, in [0, 1); 0 changes nothing, and among
        weights of one size the share may be somewhat less.
    """
    kernels = [np.abs(w).ravel() for w in weights if np.ndim(w) >= 2]
    if not (sparsity and kernels):
        return list(weights)
    sizes = np.concatenate(kernels)
    count = int(sparsity * sizes.size)
    if not count:
        return list(weights)
    limit = np.partition(sizes, count)[count]
    return [
        np.where(np.abs(w) < limit, np.zeros_like(w), w)
        if np.ndim(w) >= 2
        else w
        for w in weights
    ]


def to_tflite(model: tf.keras.Model, format_: str) -> bytes:
    """The file of a Keras model.

    Args:
      model: Images -> logits.
      format_: One of `run_folder.SHRUNK_FORMATS`.

    Raises:
      UsageError: TFLite has no operation for one of its layers.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if format_ == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    try:
        return converter.convert()
    except Exception as error:  # Of several modules, none of them public.
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"TFLite cannot hold this model ({reason[:200]}): serve the "
            "exported saved_model instead."
        ) from error


def accuracy(content: bytes, examples: Stored, objective: Objective) -> float:
    """How right TFLite is about examples, in [0, 1].

    Args:
      content: A file that takes images as they are stored.
      examples: Not empty.
      objective: Which says what is right.
    """
    predict = _interpreter(content)
    correct = 0.0
    for start in range(0, len(examples), _BATCH):
        stop = min(start + _BATCH, len(examples))
        batch = examples.take(np.arange(start, stop))
        logits = tf.constant(predict(batch.images))
        correct += float(tf.reduce_sum(objective.correct(logits, batch.labels)))
    return correct / len(examples)


def _interpreter(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Images, as they are stored -> logits."""
    interpreter = tf.lite.Interpreter(model_content=content)
    (source,) = interpreter.get_input_details()
    (result,) = interpreter.get_output_details()

    def predict(images):
        interpreter.resize_tensor_input(source["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], images.astype(source["dtype"]))
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return predict


def shrink(
    model: tf.keras.Model,
    format_: str,
    sparsity: float,
    examples: Stored,
    objective: Objective,
) -> Shrunk:
    """A model in one format, with its accuracy.

    Args:
      model: Stored images -> logits; its weights are put back afterwards.
      format_: See `to_tflite`.
      sparsity: See `pruned`.
      examples: To measure on.
      objective: Of the model.

    Raises:
      UsageError: See `to_tflite`.
    """
    before = model.get_weights()
    model.set_weights(pruned(before, sparsity))
    try:
        content = to_tflite(model, format_)
    finally:
        model.set_weights(before)
    found = accuracy(content, examples, objective)
    return Shrunk(format_, sparsity, content, found)
