"""Clients that send a given vector: the canaries of an audit.

Andrew et al. 2023, "One-shot Empirical Privacy Estimation for Federated
Learning" (arXiv 2302.03098): a canary takes part as any client does, and its
update is its direction, so long that clipping decides its norm.
"""

import tensorflow as tf
import tensorflow_federated as tff

# The field of a client's element that holds its vector. A process whose
# elements lack it knows nothing of canaries.
FIELD = "canary"
SPEC = tf.TensorSpec([None], tf.float32)


def add_canary(
    result: tff.learning.templates.ClientResult, canary: tf.Tensor
) -> tff.learning.templates.ClientResult:
    """Adds a client's vector to its update.

    A canary has no examples, so that its own update is zero; the vector of any
    other client is empty, and it keeps its update.

    Args:
      result: Of the client's local training.
      canary: float32, [number of parameters] or [0]; in the order of
        `result.update`.
    """
    leaves = tf.nest.flatten(result.update)
    sizes = [leaf.shape.num_elements() for leaf in leaves]
    vector = tf.pad(canary, [[0, sum(sizes) - tf.size(canary)]])
    parts = tf.split(vector, sizes)
    update = [
        leaf + tf.reshape(part, leaf.shape)
        for leaf, part in zip(leaves, parts, strict=True)
    ]
    return tff.learning.templates.ClientResult(
        update=tf.nest.pack_sequence_as(result.update, update),
        update_weight=result.update_weight,
    )
