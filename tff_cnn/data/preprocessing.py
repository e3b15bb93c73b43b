"""What a client hands to TFF, and what happens to it inside the graph.

A client's shard is one element: all its images as uint8, its labels, and the
seed of its local training. Iterating over batches with tf.data costs about a
hundred times what reading one element does (BUILD_NOTES.md), so scaling,
shuffling and batching are TensorFlow operations on that element.
"""

import collections

import numpy as np
import tensorflow as tf

from tff_cnn.data.examples import Examples


def element_spec(image_shape: tuple[int, int, int]) -> collections.OrderedDict:
    """Specs of a client's one element."""
    return collections.OrderedDict(
        images=tf.TensorSpec([None, *image_shape], tf.uint8),
        labels=tf.TensorSpec([None], tf.int32),
        seed=tf.TensorSpec([2], tf.int32),
    )


def client_data(
    examples: Examples, seed: np.ndarray
) -> list[collections.OrderedDict]:
    """One client's argument to a TFF process: a sequence of one element.

    Args:
      examples: The client's examples.
      seed: int32, [2]; from it come the shuffling and dropout of this round.
    """
    return [
        collections.OrderedDict(
            images=examples.images, labels=examples.labels, seed=seed
        )
    ]


def scale(images: tf.Tensor, pixel_max: int) -> tf.Tensor:
    """uint8 images to float32 in [0, 1]."""
    return tf.cast(images, tf.float32) * (1.0 / pixel_max)
