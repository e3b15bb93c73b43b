"""A model that is encoded on its way to the clients.

Caldas et al. 2018, "Expanding the Reach of Federated Learning by Reducing
Client Resource Requirements", section 3: in each round

    1. the server encodes w_t, and sends the code to the cohort   (`transmit`)
    2. clients decode it to w'_t, train from there to w_k, and send w'_t - w_k
    3. the server moves w_t by the aggregate of these

so that what the code leaves out is left out of one round only: w_t itself is
kept as it is. What the server sends besides (`LocalRule.sent_extra`), and
weights that are not trained, it sends as they are.
"""

import collections
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators.codecs import Codecs, Seeds, num_bytes


def distribution(codecs: Codecs | None, weights_type: tff.StructType) -> Any:
    """How weights reach the clients.

    It measures `bytes_down`, int64: what one client is sent of weights.

    Args:
      codecs: What encodes them; None sends them as they are.
      weights_type: TFF type of the model's `tff.learning.models.ModelWeights`.

    Returns:
      A `tff.learning.templates.DistributionProcess`, without state.
    """
    templates = tff.learning.templates
    if codecs is None:
        return templates.build_broadcast_process(weights_type)

    @tff.tensorflow.computation(weights_type)
    def transmit(model_weights):
        return transmitted(codecs, model_weights)

    @tff.federated_computation
    def initialize():
        return tff.federated_value((), tff.SERVER)

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(weights_type, tff.SERVER),
    )
    def next_fn(state, model_weights):
        found = tff.federated_map(transmit, model_weights)
        measurements = collections.OrderedDict(bytes_down=found.num_bytes)
        return tff.templates.MeasuredProcessOutput(
            state,
            tff.federated_broadcast(found.weights),
            tff.federated_zip(measurements),
        )

    return templates.DistributionProcess(initialize, next_fn)


def transmitted(codecs: Codecs, model_weights: Any) -> Any:
    """What clients have of weights, and the bytes that it took.

    Args:
      codecs: What encodes them; without randomness, as all of a round get the
        same.
      model_weights: `tff.learning.models.ModelWeights`.

    Returns:
      An OrderedDict: `weights`, of the same structure, and `num_bytes`, int64,
      scalar.
    """
    nothing = tf.zeros([2], tf.int64)
    leaves = list(model_weights.trainable)
    decoded, size = codecs.transmitted(leaves, Seeds(nothing, nothing))
    whole = tuple(model_weights.non_trainable)
    return collections.OrderedDict(
        weights=tff.learning.models.ModelWeights(tuple(decoded), whole),
        num_bytes=size + num_bytes(whole),
    )
