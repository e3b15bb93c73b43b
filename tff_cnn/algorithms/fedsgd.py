"""FedSGD.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", section 2, and before it Shokri & Shmatikov 2015: each
client takes one step, along the gradient of all its examples. In round t, with
cohort S_t:

    1. the server sends w_t to the clients of S_t           (distributor)
    2. client k computes g_k = grad F_k(w_t) over all its
       examples                                             (`FullBatch.apply`)
    3. and takes one step: w_k = w_t - eta g_k              (`FullBatch.result`)
    4. delta_t = sum_k n_k (w_t - w_k) / sum_k n_k          (aggregator)
    5. w_{t+1} = w_t - delta_t                              (finalizer)

    symbol  name
    eta     learning rate of client_optimizer
    n_k     weighting: examples

With all clients in each round and SGD on both sides that is gradient descent on
the union of their data. How many examples a client reads at a time
(`batch_size`) changes the result by no more than rounding; so would more passes
over the data, so that there is one.
"""

import dataclasses

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.algorithms import fedavg
from tff_cnn.algorithms.full_gradient import FullGradient
from tff_cnn.algorithms.local_rule import LocalRule, Optimizer
from tff_cnn.algorithms.local_training import Parts


@dataclasses.dataclass(frozen=True)
class FullBatch(LocalRule):
    """One step on all examples. The carry: (optimizer's state, the gradient).

    Attributes:
      optimizer: Of the clients.
    """

    optimizer: Optimizer

    def initial_carry(self, optimizer, weights):
        """The optimizer's state in this round, and nothing of the gradient."""
        state = super().initial_carry(optimizer, weights)
        return state, FullGradient.of_nothing(weights)

    def apply(self, optimizer, carry, step, gradients):
        """Step 2: adds a batch; the weights stay w_t."""
        state, gradient = carry
        return (state, gradient.plus(gradients, step.is_real)), step.weights

    def result(self, trained):
        """Step 3."""
        state, gradient = trained.carry
        sent = trained.sent.weights
        _, weights = self.optimizer.next(state, sent, gradient.mean)
        return tf.nest.map_structure(tf.subtract, sent, weights), ()


def build_fedsgd(parts: Parts) -> tff.learning.templates.LearningProcess:
    """Builds the learning process.

    Args:
      parts: As of `fedavg.build_fedavg`; with its clients' elements in one pass
        over their examples.
    """
    return fedavg.build_with(parts, FullBatch(parts.client_optimizer))
