"""Codecs: what a client sends in the place of its update.

A codec makes of a list of tensors another, usually smaller one, and what has to
be sent beside it; codecs stand one behind the other, each encoding what the one
before has left (`aggregators.order`). All that is sent is tensors as they would
travel, bits packed into bytes, so that their bytes are measured and not
computed from a formula.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

Leaves = list[tf.Tensor]


class Seeds(NamedTuple):
    """What randomness a codec has; none of it is secret.

    Attributes:
      shared: int64, [2]: the same for the server and all clients of a round, so
        that nothing drawn from it is sent.
      own: int64, [2]: of the client's update and of the round.
    """

    shared: tf.Tensor
    own: tf.Tensor


class Codec(Protocol):
    """One part of an encoding. Methods are pure functions of tensors."""

    def encode(self, leaves: Leaves, seeds: Seeds) -> tuple[Leaves, Any]:
        """(what the next codec encodes, what is sent beside it).

        Args:
          leaves: float32, of static shapes: of the update, or what the codec
            before has left.
          seeds: Of the client and round.

        Returns:
          float32 tensors of static shapes, none where nothing is left; and a
          structure of tensors as they are sent. A part of a tensor that is not
          sent, as behind the end of a code of any length, is said by
          `num_bytes`.
        """

    def decode(
        self, left: Leaves, beside: Any, specs: Leaves, shared: tf.Tensor
    ) -> Leaves:
        """What the server has of `leaves`.

        Args:
          left: As decoded by the codecs behind this one.
          beside: As encoded.
          specs: `tf.TensorSpec` of each of `leaves`.
          shared: As in `Seeds`.
        """

    def num_bytes(self, beside: Any) -> tf.Tensor:
        """Of `beside` as it is sent: int64, scalar."""


def joined(leaves: Leaves) -> tf.Tensor:
    """All numbers of tensors, one after the other: [size]."""
    flat = [tf.reshape(leaf, [leaf.shape.num_elements()]) for leaf in leaves]
    return tf.concat(flat, 0)


def parted(vector: tf.Tensor, specs: Leaves) -> Leaves:
    """The tensors again that `joined` made a vector of.

    Args:
      vector: Of any dtype.
      specs: What has the shapes.
    """
    parts = tf.split(vector, [spec.shape.num_elements() for spec in specs])
    return [
        tf.reshape(part, spec.shape)
        for part, spec in zip(parts, specs, strict=True)
    ]


def stream(seed: tf.Tensor, number: int) -> tf.Tensor:
    """The seed of one use of many: int64, [2].

    Args:
      seed: One of `Seeds`, whose second number counts rounds.
      number: Of the use, below 2**20.
    """
    return seed + tf.constant([0, number << 40], tf.int64)


def divided(leaf: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(largest absolute value, the tensor divided by it): no overflow then.

    Zeros stay zeros.
    """
    largest = tf.reduce_max(tf.abs(leaf))
    return largest, tf.math.divide_no_nan(leaf, largest)


def num_bytes(tensors: Any) -> tf.Tensor:
    """Of tensors that are sent as they are: int64, scalar."""
    sizes = [
        tf.size(tensor, tf.int64) * tensor.dtype.size
        for tensor in tf.nest.flatten(tensors)
    ]
    return tf.add_n([tf.constant(0, tf.int64), *sizes])


@dataclasses.dataclass(frozen=True)
class Codecs:
    """Codecs, one behind the other.

    Attributes:
      parts: From the update on.
    """

    parts: Sequence[Codec]

    def transmitted(
        self, leaves: Leaves, seeds: Seeds
    ) -> tuple[Leaves, tf.Tensor]:
        """What the server has of an update, and the bytes that it took.

        One that is not finite is sent as zeros: no code is made of NaN.

        Args:
          leaves: float32, of static shapes.
          seeds: Of the client and round.

        Returns:
          Tensors like `leaves`; int64, scalar.
        """
        is_finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(leaf)) for leaf in leaves]
        )
        leaves = [tf.where(is_finite, x, tf.zeros_like(x)) for x in leaves]
        specs, besides = [], []
        size = tf.constant(0, tf.int64)
        for codec in self.parts:
            specs.append([tf.TensorSpec(x.shape, x.dtype) for x in leaves])
            leaves, beside = codec.encode(leaves, seeds)
            besides.append(beside)
            size += codec.num_bytes(beside)
        size += num_bytes(leaves)
        for codec, beside, spec in zip(
            reversed(self.parts),
            reversed(besides),
            reversed(specs),
            strict=True,
        ):
            leaves = codec.decode(leaves, beside, spec, seeds.shared)
        return leaves, size
