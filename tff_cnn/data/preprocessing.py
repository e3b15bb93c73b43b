"""What a client hands to TFF, and its scaling inside the graph.

A client's shard is one element: all its images as stored, its labels, which of
them each local step takes, and the seed of its local training. Iterating over
batches with tf.data costs about a hundred times what reading one element does
(BUILD_NOTES.md), so a local step gathers its batch from that element.

Sizes are padded to a ladder, so that the clients of a round have few different
shapes and a runtime can train clients of equal shape together. Padding is
never trained on: `batches` says what is real.
"""

import collections
import dataclasses
import math

import numpy as np
import tensorflow as tf

from tff_cnn.data.examples import Examples

# First entry of a row of `batches` that is no step.
PADDING_STEP = -2


def element_spec(
    image_shape: tuple[int, int, int],
    dtype: np.dtype | type = np.uint8,
    label_shape: tuple[int, ...] = (),
) -> collections.OrderedDict:
    """Specs of a client's one element; see `Batching.client_data`.

    Args:
      image_shape: Height, width and channels.
      dtype: Of the images, as stored.
      label_shape: Of one label: (), or (num_labels,) of several an image.
    """
    return collections.OrderedDict(
        images=tf.TensorSpec([None, *image_shape], dtype),
        labels=tf.TensorSpec([None, *label_shape], tf.int32),
        batches=tf.TensorSpec([None, None], tf.int32),
        seed=tf.TensorSpec([2], tf.int64),
    )


@dataclasses.dataclass(frozen=True)
class Batching:
    """How a client's examples become its local steps in a round.

    Attributes:
      epochs: Passes over the client's examples, >= 1.
      batch_size: Examples a step, >= 1; the last batch of an epoch is smaller
        where the number of examples is not a multiple.
      shuffle: A new order for each epoch; False keeps the client's order.
      poisson: Each step takes every example independently, with probability
        `batch_size` over their number (at most 1), in the place of passes over
        all; there are as many steps. A step may have any number of examples,
        also none. It is what the accounting of DP-SGD assumes.
      steps: Of each client that has examples, >= 1, in the place of `epochs`:
        as many passes as it takes, the last of which may be cut. None is
        `epochs`, and so is it with `poisson`.
    """

    epochs: int
    batch_size: int
    shuffle: bool = True
    poisson: bool = False
    steps: int | None = None

    def __post_init__(self):
        if self.poisson and self.steps is not None:
            raise ValueError("poisson draws have as many steps as epochs say.")

    def client_data(
        self, examples: Examples, seed: np.ndarray
    ) -> list[collections.OrderedDict]:
        """One client's argument to a TFF process: a sequence of one element.

        Its fields, with n examples padded to p rows, and s steps of b examples
        (`batch_size`, or n padded where that is less):
          images: As stored, [p, height, width, channels].
          labels: int32, [p], or of several labels an image [p, num_labels].
          batches: int32, [s, b]: the examples of each step, then -1 where a
            batch has fewer. Rows of PADDING_STEP come last and are no steps.
            With `poisson`, b grows to what the largest draw needs.
          seed: int64, [2].

        Args:
          examples: The client's examples; there may be none.
          seed: int64, [2]; from it come the order of this round, and dropout.
        """
        num_examples = len(examples)
        width, steps = self._shape(num_examples)
        num_rows = width * _padded(steps)
        return [
            collections.OrderedDict(
                images=_pad(examples.images, num_rows),
                labels=_pad(examples.labels, num_rows),
                batches=self.batches(num_examples, seed),
                seed=seed,
            )
        ]

    def num_steps(self, num_examples: int) -> int:
        """Local steps in a round of a client with so many examples."""
        if self.steps is not None:
            return self.steps if num_examples else 0
        return self.epochs * -(-num_examples // self.batch_size)

    def num_trained(self, num_examples: int, num_steps: int) -> int:
        """Examples that a client's first steps take, each as often as it is.

        With `poisson` what they are expected to, about.

        Args:
          num_examples: Of the client.
          num_steps: At most `num_steps(num_examples)`.
        """
        epoch = -(-num_examples // self.batch_size)
        epochs, steps = divmod(num_steps, max(epoch, 1))
        rest = min(steps * self.batch_size, num_examples)
        return epochs * num_examples + rest

    def batches(self, num_examples: int, seed: np.ndarray) -> np.ndarray:
        """Which examples each step takes: see `client_data`.

        Args:
          num_examples: >= 0.
          seed: int64, [2].
        """
        width, steps = self._shape(num_examples)
        return self._batches(num_examples, steps, width, seed)

    def num_bytes(self, num_examples: int, image_bytes: int) -> int:
        """What `client_data` takes up; with `poisson` about, and not more.

        Args:
          num_examples: Of the client.
          image_bytes: Of one image.
        """
        width, steps = self._shape(num_examples)
        rows = width * _padded(steps)
        if self.poisson:
            width = min(self.batch_size, num_examples)
            steps = -(-num_examples // self.batch_size)
        entries = self.steps or self.epochs * (
            steps if self.poisson else _padded(steps)
        )
        return rows * (image_bytes + 4) + 4 * entries * width

    def _shape(self, num_examples) -> tuple[int, int]:
        """(examples in a step, steps in an epoch)."""
        width = min(self.batch_size, _padded(num_examples))
        return width, -(-num_examples // width)

    def _batches(self, num_examples, steps, width, seed) -> np.ndarray:
        words = seed.view(np.uint32)
        if self.poisson:
            steps = self.num_steps(num_examples)
            rng = np.random.default_rng(words)
            return self._poisson_batches(num_examples, steps, rng)
        epochs = self.epochs
        if self.steps is not None:
            epochs = -(-self.steps // max(1, steps))
        drawn = np.full((epochs, steps * width), -1, np.int32)
        # Half of the seed, as when seeds had no more: runs of then go on.
        rng = np.random.default_rng(words[:2])
        for epoch in drawn:
            order = np.arange(num_examples)
            epoch[:num_examples] = (
                rng.permutation(order) if self.shuffle else order
            )
        real = drawn.reshape(epochs * steps, width)[: self.steps]
        batches = _no_steps(self.steps or epochs * _padded(steps), width)
        batches[: len(real)] = real
        return batches

    def _poisson_batches(self, num_examples, steps, rng) -> np.ndarray:
        rate = min(1.0, self.batch_size / max(num_examples, 1))
        draws = [
            np.flatnonzero(rng.random(num_examples) < rate)
            for _ in range(steps)
        ]
        # Wide enough for almost all draws, so that clients of one size have
        # one shape; a larger draw widens it, for none may be cut.
        mean = rate * num_examples
        usual = math.ceil(mean + 4 * math.sqrt(mean * (1 - rate)))
        width = max([1, usual, *map(len, draws)])
        batches = _no_steps(_padded(steps), _padded(width))
        for row, draw in zip(batches, draws, strict=False):
            row[:] = -1
            row[: len(draw)] = draw
        return batches


def cut_steps(
    element: collections.OrderedDict, num_steps: int
) -> collections.OrderedDict:
    """A client's element with no more than its first steps.

    Its shapes stay what they were, and so do the steps that are left.

    Args:
      element: Of `Batching.client_data`; it is not changed.
      num_steps: >= 0; as many as there are, or more, leave all.
    """
    batches = element["batches"].copy()
    batches[num_steps:] = PADDING_STEP
    return collections.OrderedDict(element, batches=batches)


def _no_steps(rows: int, width: int) -> np.ndarray:
    return np.full((rows, width), PADDING_STEP, np.int32)


def scale(images: tf.Tensor, pixel_max: float) -> tf.Tensor:
    """Stored images to float32, `pixel_max` to 1.0."""
    return tf.cast(images, tf.float32) * (1.0 / pixel_max)


def _padded(count: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24, ...: at most a third more."""
    power = 1
    while True:
        for step in (power, power + power // 2):
            if step >= count:
                return step
        power *= 2


def _pad(array: np.ndarray, num_rows: int) -> np.ndarray:
    if len(array) == num_rows:
        return array
    padded = np.zeros((num_rows, *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    return padded
