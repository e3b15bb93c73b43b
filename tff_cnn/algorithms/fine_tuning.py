"""Local training that each client does for itself, with no server in it.

ClientUpdate of FedAvg (`local_training`) from weights that each client brings
along; what it ends with goes to no aggregator. `evaluation.personalized` says
what it is good for.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.algorithms import (
    canary_updates,
    local_training,
    update_attacks,
)
from tff_cnn.algorithms.local_rule import LocalRule, Sent
from tff_cnn.algorithms.local_training import Parts
from tff_cnn.core.weights import Weights

# Field of a client's element: float32, [parameters], all weights in a row.
_START = "start"


def build_fine_tuning(
    parts: Parts,
) -> Callable[[Sequence[Weights], Sequence[list]], list[list[np.ndarray]]]:
    """(weights, data) of each client -> the weights that it ends with.

    It is a TFF computation, and runs where these do. A client whose weights do
    not stay finite keeps those that it began with.

    Args:
      parts: Of the run, of whose model, optimizer of clients, preprocessing and
        augmentation it makes use. Where `gradients` adds noise to protect what
        is sent, none is added here: nothing is.
    """
    own = collections.OrderedDict(parts.element_spec)
    # What canaries and attackers would send is no matter here.
    for name in (canary_updates.FIELD, *update_attacks.SPECS):
        own.pop(name, None)
    parts = dataclasses.replace(parts, gradients=None, element_spec=own)
    shapes = [np.shape(w) for w in parts.model.initial_weights[0]]
    sizes = [int(np.prod(shape)) for shape in shapes]
    spec = collections.OrderedDict(own)
    spec[_START] = tf.TensorSpec([sum(sizes)], tf.float32)
    train = local_training.build_client_update(parts, LocalRule())

    @tff.tensorflow.computation(
        tff.SequenceType(tff.types.tensorflow_to_type(spec))
    )
    def fine_tune(data):
        element = data.get_single_element()
        start = tuple(
            tf.reshape(part, shape)
            for part, shape in zip(
                tf.split(element[_START], sizes), shapes, strict=True
            )
        )
        update = train(Sent(start), (), element).result.update
        moved = [tf.reshape(u, [-1]) for u in update]
        return element[_START] - tf.concat(moved, 0)

    @tff.federated_computation(
        tff.FederatedType(fine_tune.type_signature.parameter, tff.CLIENTS)
    )
    def at_clients(data):
        return tff.federated_map(fine_tune, data)

    splits = np.cumsum(sizes)[:-1]

    def fine_tuned(starts, client_data):
        data = [
            [{**element, _START: _flat(start)} for element in elements]
            for start, elements in zip(starts, client_data, strict=True)
        ]
        return [
            [
                part.reshape(shape)
                for part, shape in zip(
                    np.split(np.asarray(trained), splits), shapes, strict=True
                )
            ]
            for trained in at_clients(data)
        ]

    return fine_tuned


def _flat(weights: Weights) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(w)) for w in weights])
