"""The process of a rule whose clients keep, or are sent, more than weights.

TFF's four slots, with two values beside them: what the server has besides the
weights (`Sent.extra`), and what each client keeps between its rounds. A client
hands over what it kept as a field of its element, and gets back what it is to
keep; TFF's own learning processes have no way for either.
"""

import collections
import dataclasses
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.algorithms import downlink, local_training, update_attacks
from tff_cnn.algorithms.local_rule import LocalRule, Sent
from tff_cnn.algorithms.local_training import Parts
from tff_cnn.algorithms.update_attacks import Sending
from tff_cnn.core import weights as weight_arithmetic
from tff_cnn.core.weights import Weights

# The field of a client's element that holds what it kept: float32, [size].
KEPT = "kept"


class ServerState(NamedTuple):
    """What the server goes on from.

    Attributes:
      global_model_weights: `tff.learning.models.ModelWeights`.
      extra: See `LocalRule.initial_extra`.
      aggregator: State of the aggregation.
      finalizer: State of the server optimizer.
    """

    global_model_weights: Any
    extra: Any
    aggregator: Any
    finalizer: Any


class _FromClient(NamedTuple):
    """What a client's round ends with: see `local_training.ClientOutput`.

    Attributes:
      trained: What it sends, unless it attacks.
      kept: float32, [size].
      metrics: Unfinalized.
      attacker: `core.update_attacks.Attacker`.
    """

    trained: Sending
    kept: Any
    metrics: Any
    attacker: Any


@dataclasses.dataclass(frozen=True)
class RuleProcess:
    """A process of a rule, and how its states are to be read.

    Attributes:
      process: `next(state, client data)` returns (state, what each client
        keeps, metrics); client data are sequences of one element, with the
        field `KEPT` where clients keep anything.
      rule: That it was built of.
      initial_weights: All trainable ones of the model.
      weight_bytes: Of the weights that a client is sent, uncompressed.
      extra_bytes: Of what it is sent besides.
      bytes_up: That it sends.
    """

    process: tff.templates.IterativeProcess
    rule: LocalRule
    initial_weights: Weights
    weight_bytes: int
    extra_bytes: int
    bytes_up: int

    @property
    def bytes_down(self) -> int:
        """That a client is sent in a round, uncompressed."""
        return self.weight_bytes + self.extra_bytes

    @property
    def initial_kept(self) -> np.ndarray:
        """Of a client that has not taken part yet: float32, [size]."""
        leaves = tf.nest.flatten(self.rule.initial_kept(self.initial_weights))
        found = [np.ravel(np.asarray(leaf)) for leaf in leaves]
        return np.concatenate([np.zeros(0, np.float32), *found])

    def weights(self, state: ServerState) -> Weights:
        """All trainable weights of the model that the server has."""
        return self.rule.model(_sent(state), self.initial_weights)

    def personal_weights(self, state: ServerState, kept: np.ndarray) -> Weights:
        """All trainable weights of the model that a client has for itself.

        Args:
          state: Of the server.
          kept: By the client: float32, [size].
        """
        like = self.rule.initial_kept(self.initial_weights)
        unpacked = like
        if tf.nest.flatten(like):
            unpacked = tf.nest.map_structure(np.asarray, _unpacked(kept, like))
        return self.rule.personal_model(_sent(state), unpacked)


def _sent(state: ServerState) -> Sent:
    return Sent(tuple(state.global_model_weights.trainable), state.extra)


def build(parts: Parts, rule: LocalRule) -> RuleProcess:
    """Builds the process.

    Args:
      parts: Of the algorithm.
      rule: Of the algorithm.
    """
    initial, non_trainable = parts.model.initial_weights
    shared = tuple(map(np.asarray, rule.shared(initial)))
    initial_values = _initial_values(
        shared, non_trainable, rule.initial_extra(initial)
    )
    weights_type, extra_type = initial_values.type_signature.result
    sent_extra = tff.tensorflow.computation(rule.sent_extra, extra_type)
    sent_type = sent_extra.type_signature.result
    client_update = _client_update(parts, rule, weights_type, sent_type)
    client_type = client_update.type_signature.result
    update_type = client_type.trained.update
    sending = _sending(parts, client_type)
    server_step = _server_step(rule, weights_type, extra_type, update_type)
    distributor = downlink.distribution(parts.downlink, weights_type)
    aggregator = parts.aggregator.create(
        update_type, tff.TensorType(tf.float32.as_numpy_dtype)
    )
    finalizer = tff.learning.templates.build_apply_optimizer_finalizer(
        parts.server_optimizer, weights_type
    )
    aggregate_metrics = tff.learning.metrics.sum_then_finalize(
        parts.model.finalize_metrics, client_type.metrics
    )

    @tff.federated_computation
    def initialize():
        model_weights, first_extra = tff.federated_eval(
            initial_values, tff.SERVER
        )
        return tff.federated_zip(
            ServerState(
                model_weights,
                first_extra,
                aggregator.initialize(),
                finalizer.initialize(),
            )
        )

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(
            client_update.type_signature.parameter[2], tff.CLIENTS
        ),
    )
    def next_fn(state, client_data):
        model_weights, extra = state.global_model_weights, state.extra
        distributed = distributor.next(
            tff.federated_value((), tff.SERVER), model_weights
        )
        client = tff.federated_map(
            client_update,
            (
                distributed.result,
                tff.federated_broadcast(tff.federated_map(sent_extra, extra)),
                client_data,
            ),
        )
        sent = sending(client)
        aggregate = aggregator.next(state.aggregator, sent.update, sent.weight)
        gradient, new_extra = tff.federated_map(
            server_step,
            (
                model_weights,
                extra,
                aggregate.result,
                tff.federated_sum(sent.counts),
            ),
        )
        finalized = finalizer.next(state.finalizer, model_weights, gradient)
        new_state = tff.federated_zip(
            ServerState(
                finalized.result, new_extra, aggregate.state, finalized.state
            )
        )
        measurements = tff.federated_zip(
            collections.OrderedDict(
                client_work=collections.OrderedDict(
                    train=aggregate_metrics(client.metrics),
                    num_nonfinite_clients=tff.federated_sum(sent.is_excluded),
                    **_encoded_bytes(parts, sent),
                ),
                distributor=distributed.measurements,
                aggregator=aggregate.measurements,
            )
        )
        return new_state, client.kept, measurements

    return RuleProcess(
        tff.templates.IterativeProcess(initialize, next_fn),
        rule,
        initial,
        weight_arithmetic.num_bytes(shared),
        _num_bytes(sent_type),
        _num_bytes(update_type) + 4,
    )


def _initial_values(shared, non_trainable, extra):
    """() -> (weights, extra): what the server begins with."""

    @tff.tensorflow.computation
    def initial_values():
        model_weights = tff.learning.models.ModelWeights(
            tuple(map(tf.constant, shared)),
            tuple(map(tf.constant, non_trainable)),
        )
        return model_weights, tf.nest.map_structure(tf.constant, extra)

    return initial_values


def _client_update(parts, rule, weights_type, sent_type):
    """(weights, extra, data) -> `_FromClient`."""
    like = rule.initial_kept(parts.model.initial_weights[0])
    size = sum(int(np.size(leaf)) for leaf in tf.nest.flatten(like))
    spec = collections.OrderedDict(parts.element_spec)
    if size:
        spec[KEPT] = tf.TensorSpec([size], tf.float32)
    data_type = tff.SequenceType(tff.types.tensorflow_to_type(spec))
    train = local_training.build_client_update(parts, rule)

    @tff.tensorflow.computation(weights_type, sent_type, data_type)
    def client_update(model_weights, extra, data):
        element = data.get_single_element()
        kept = _unpacked(element[KEPT], like) if size else like
        sent = Sent(tuple(model_weights.trainable), extra)
        output = train(sent, kept, element)
        update, weight = output.result.update, output.result.update_weight
        counts = tf.cast(weight > 0, tf.float32)
        return _FromClient(
            Sending(
                update, weight, output.is_excluded, counts, output.num_bytes
            ),
            _packed(output.kept),
            output.metrics,
            update_attacks.of(element),
        )

    return client_update


def _encoded_bytes(parts: Parts, sent: Any) -> dict[str, Any]:
    """`bytes_up` of all clients, where their rule says what they send."""
    if parts.feedback is None:
        return {}
    return {"bytes_up": tff.federated_sum(sent.num_bytes)}


def _sending(parts: Parts, client_type: tff.Type):
    """`_FromClient` at the clients -> what they send."""
    if parts.attack is None:
        return lambda client: client.trained
    changed = update_attacks.federated(
        parts.attack, client_type.trained, client_type.attacker, parts.feedback
    )
    return lambda client: changed(client.trained, client.attacker)


def _server_step(rule, weights_type, extra_type, update_type):
    """(weights, extra, aggregate, clients that count) -> (gradient, extra)."""

    @tff.tensorflow.computation(
        weights_type, extra_type, update_type, np.float32
    )
    def server_step(model_weights, extra, aggregate, num_clients):
        server = Sent(tuple(model_weights.trainable), extra)
        return rule.server_step(server, aggregate, num_clients)

    return server_step


def _packed(kept: Any) -> tf.Tensor:
    """All numbers of a structure, one after the other: float32, [size]."""
    leaves = [tf.reshape(leaf, [-1]) for leaf in tf.nest.flatten(kept)]
    return tf.concat([tf.zeros([0]), *leaves], 0)


def _unpacked(vector: Any, like: Any) -> Any:
    """The structure again that `_packed` made a vector of."""
    leaves = tf.nest.flatten(like)
    parts = tf.split(vector, [int(np.size(leaf)) for leaf in leaves])
    return tf.nest.pack_sequence_as(
        like,
        [
            tf.reshape(part, np.shape(leaf))
            for part, leaf in zip(parts, leaves, strict=True)
        ],
    )


def _num_bytes(type_: tff.Type) -> int:
    specs = tf.nest.flatten(tff.types.type_to_tf_tensor_specs(type_))
    return sum(s.shape.num_elements() * s.dtype.size for s in specs)
