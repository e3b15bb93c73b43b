"""Federated averaging.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", Algorithm 1, with the server optimizer of Reddi et al.
2021 ("Adaptive Federated Optimization", Algorithm 1; server SGD with rate 1
and no momentum is McMahan's FedAvg). In round t, with cohort S_t:

    1. the server sends w_t to the clients of S_t           (distributor)
    2. client k trains w_t on its data, giving w_k          (client work)
    3. delta_t = sum_k a_k (w_t - w_k) / sum_k a_k          (aggregator)
    4. w_{t+1} = server_optimizer(w_t, gradient = delta_t)  (finalizer)

    symbol  name
    E       Batching.epochs       (data.preprocessing)
    B       Batching.batch_size
    eta_l   learning rate of client_optimizer
    eta     learning rate of server_optimizer
    a_k     weighting: examples trained on, or 1

DP-FedAvg (McMahan et al. 2018) is this with a private aggregator in step 3.
"""

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.algorithms import (
    downlink,
    error_feedback,
    local_training,
    rule_process,
)
from tff_cnn.algorithms.local_rule import LocalRule
from tff_cnn.algorithms.local_training import Parts
from tff_cnn.algorithms.rule_process import RuleProcess


def build_fedavg(parts: Parts) -> tff.learning.templates.LearningProcess:
    """Builds the learning process.

    Args:
      parts: All that FedAvg has: `client_optimizer` is of step 2, `aggregator`
        and `weighting` (a_k) are of step 3, `server_optimizer` of step 4.
    """
    return build_with(parts, LocalRule())


def build_with(
    parts: Parts, rule: LocalRule
) -> tff.learning.templates.LearningProcess | RuleProcess:
    """FedAvg with another rule: what differs inside a client, and beside it.

    Args:
      parts: As of `build_fedavg`.
      rule: Of the algorithm.

    Returns:
      TFF's process, where its four slots have all that the rule needs, and
      nobody attacks.
    """
    if parts.feedback is not None:
        rule = error_feedback.wrapped(rule, parts)
    is_plain = rule.is_plain(parts.model.initial_weights[0])
    if parts.attack is not None or not is_plain:
        return rule_process.build(parts, rule)
    trainable, non_trainable = parts.model.initial_weights

    @tff.tensorflow.computation
    def initial_weights():
        return tff.learning.models.ModelWeights(
            tuple(tf.constant(w) for w in trainable),
            tuple(tf.constant(w) for w in non_trainable),
        )

    weights_type = initial_weights.type_signature.result
    templates = tff.learning.templates
    return templates.compose_learning_process(
        initial_weights,
        downlink.distribution(parts.downlink, weights_type),
        local_training.build_client_work(parts, weights_type, rule),
        parts.aggregator.create(
            weights_type.trainable, tff.TensorType(tf.float32.as_numpy_dtype)
        ),
        templates.build_apply_optimizer_finalizer(
            parts.server_optimizer, weights_type
        ),
    )
