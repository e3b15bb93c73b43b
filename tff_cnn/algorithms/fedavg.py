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

import collections
from collections.abc import Callable

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.algorithms import local_training
from tff_cnn.models.functional import SeededFunctionalModel


def build_fedavg(
    model: SeededFunctionalModel,
    client_optimizer: tff.learning.optimizers.Optimizer,
    server_optimizer: tff.learning.optimizers.Optimizer,
    aggregator: tff.aggregators.WeightedAggregationFactory,
    weighting: local_training.Weighting,
    element_spec: collections.OrderedDict,
    preprocess: Callable[[tf.Tensor], tf.Tensor],
    gradients: local_training.GradientFunction | None = None,
) -> tff.learning.templates.LearningProcess:
    """Builds the learning process.

    Args:
      model: What is trained; its initial weights are those of round 0.
      client_optimizer: Step 2; its state starts afresh every round.
      server_optimizer: Step 4; its state is part of the process's state.
      aggregator: Step 3.
      weighting: a_k.
      element_spec: Of the one element in a client's sequence
        (`data.preprocessing.element_spec`).
      preprocess: Stored images -> model input, in the client's graph.
      gradients: Step 2; None is the gradient of a batch's mean loss.
    """
    trainable, non_trainable = model.initial_weights

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
        templates.build_broadcast_process(weights_type),
        local_training.build_client_work(
            model,
            weights_type,
            client_optimizer,
            weighting,
            element_spec,
            preprocess,
            gradients,
        ),
        aggregator.create(
            weights_type.trainable, tff.TensorType(tf.float32.as_numpy_dtype)
        ),
        templates.build_apply_optimizer_finalizer(
            server_optimizer, weights_type
        ),
    )
