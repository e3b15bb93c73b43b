"""What travels: the bytes that a message has, and no others."""

import numpy as np
import tensorflow as tf

from tff_cnn.aggregators.compression import bits


def as_sent(message) -> bytes:
    """The bytes of a message that are sent."""
    return message.numpy().tobytes()[: int(bits.used_bytes(message))]


def received(message) -> tf.Tensor:
    """A message of which nothing is known but what was sent of it."""
    sent = np.frombuffer(as_sent(message), np.uint8)
    return tf.constant(np.pad(sent, (0, message.shape[0] - len(sent))))
