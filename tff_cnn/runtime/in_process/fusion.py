"""Many calls of a plan as one TensorFlow function."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process import plan as plans
from tff_cnn.runtime.in_process.batch_rules import RULES
from tff_cnn.runtime.in_process.plan import (
    SERVER,
    Constant,
    Leaf,
    Output,
    TensorCall,
)
from tff_cnn.runtime.in_process.types import nest_specs
from tff_cnn.runtime.in_process.vectorize import NotVectorizableError, vectorize

# Value of a leaf: a tensor, or for a sequence the list of its element's
# tensors (if all who read it take its single element) or a dataset's variant.
LeafValue = Any

# TensorFlow's own, as of a loop whose shapes it cannot infer, are of the
# latter kinds.
_REFUSALS = (NotVectorizableError, ValueError, TypeError)


class FusedFunction:
    """All calls between some leaves and some others as one `tf.function`.

    Attributes:
      outputs: What it computes.
      inputs: What it needs.
      concrete: The function, of the values of `inputs`.
    """

    def __init__(
        self,
        outputs: Sequence[Leaf],
        is_inside: Callable[[TensorCall], bool],
        as_element: Callable[[Leaf], bool],
    ):
        """Args:
        outputs: What to compute.
        is_inside: Which calls belong to this function; the results of others
          are inputs.
        as_element: Whether a sequence is given as its element's tensors.
        """
        self.outputs = list(dict.fromkeys(outputs))
        self._is_inside = is_inside
        self.inputs = self._boundary()
        self.specs = [_specs(leaf, as_element(leaf)) for leaf in self.inputs]
        # Recorded now, once: several threads would each record it anew.
        self.concrete = tf.function(
            self._compute, input_signature=self.specs, autograph=False
        ).get_concrete_function()

    def __call__(self, values: Sequence[LeafValue]) -> list[tf.Tensor]:
        """Values of `outputs`, given those of `inputs`."""
        return self.concrete(*values)

    def _boundary(self) -> list[Leaf]:
        found, seen, pending = [], set(), list(self.outputs)
        while pending:
            leaf = pending.pop(0)
            if leaf in seen or isinstance(leaf, Constant):
                continue
            seen.add(leaf)
            if isinstance(leaf, Output) and self._is_inside(leaf.call):
                pending += leaf.call.arguments
            else:
                found.append(leaf)
        return found

    def _compute(self, *values):
        known = dict(zip(self.inputs, values, strict=True))
        return plans.evaluate(self.outputs, known)


class ClientFunction:
    """What a client does in one stage, for one client or for many at once.

    Attributes:
      alone: For one client; takes values as `FusedFunction.concrete` does.
      inputs: Of both; those at the server are shared by all clients.
      outputs: Of both.
    """

    def __init__(self, alone: FusedFunction):
        self.alone = _recorded_again(alone)
        self._source = alone
        self.inputs = alone.inputs
        self.outputs = alone.outputs
        self._lock = threading.Lock()
        self._together: _GroupFunction | None = None
        #: Why clients cannot be computed together; None while they can.
        self.reason: str | None = None

    @property
    def together(self) -> "_GroupFunction | None":
        """For many clients; None if some operation cannot be vectorized."""
        with self._lock:
            if self._together is None and self.reason is None:
                try:
                    self._together = _GroupFunction(self._source)
                except _REFUSALS as error:
                    self.reason = str(error).splitlines()[0]
            return self._together

    @property
    def output_bytes(self) -> int:
        """What one client returns, as far as its shapes are known."""
        sizes = [
            np.dtype(leaf.type.dtype).itemsize * int(np.prod(leaf.type.shape))
            for leaf in self.outputs
            if isinstance(leaf.type, tff.TensorType)
            and leaf.type.shape is not None
            and None not in leaf.type.shape
            and np.issubdtype(leaf.type.dtype, np.number)
        ]
        return sum(sizes)


class _GroupFunction:
    """A client's function over stacked inputs.

    Attributes:
      concrete: Takes values as `FusedFunction` does; those of leaves at the
        clients stacked.
      is_stacked: For each output; the others are the same for all clients.
    """

    def __init__(self, alone: FusedFunction):
        specs, flags = [], []
        for leaf, spec in zip(alone.inputs, alone.specs, strict=True):
            is_shared = leaf.place == SERVER
            flat = tf.nest.flatten(spec)
            if not is_shared and any(s.dtype == tf.variant for s in flat):
                raise NotVectorizableError("clients' data are data sets.")
            flags += [not is_shared] * len(flat)
            specs.append(
                spec if is_shared else tf.nest.map_structure(_stacked, spec)
            )
        if not any(flags):
            raise NotVectorizableError("all clients do the same.")
        record = vectorize(alone.concrete.graph, RULES, flags)
        self.is_stacked: list[bool] = []

        def compute(*values):
            results = record(tf.nest.flatten(values))
            self.is_stacked = [result.is_stacked for result in results]
            return [result.tensor for result in results]

        self.concrete = tf.function(
            compute, input_signature=specs, autograph=False
        ).get_concrete_function()


def _recorded_again(function: FusedFunction) -> Callable:
    """A function of one client without the calls in it, hence faster.

    A function with state, or a loop that cannot be recorded again, is left as
    it is.
    """
    flags = [False] * len(tf.nest.flatten(function.specs))
    record = vectorize(function.concrete.graph, {}, flags)

    def compute(*values):
        return [result.tensor for result in record(tf.nest.flatten(values))]

    try:
        return tf.function(
            compute, input_signature=function.specs, autograph=False
        ).get_concrete_function()
    except _REFUSALS:
        return function.concrete


def is_sequence(leaf: Leaf) -> bool:
    """Whether a leaf stands for a sequence."""
    return isinstance(leaf.type, tff.SequenceType)


def _stacked(spec: tf.TensorSpec) -> tf.TensorSpec:
    return tf.TensorSpec([None, *spec.shape], spec.dtype)


def _specs(leaf: Leaf, as_element: bool):
    """What a fused function takes for a leaf."""
    if not is_sequence(leaf):
        return tf.TensorSpec(leaf.type.shape, leaf.type.dtype)
    if as_element:
        return tf.nest.flatten(nest_specs(leaf.type.element))
    return tf.TensorSpec([], tf.variant)
