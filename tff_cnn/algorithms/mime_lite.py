"""MimeLite.

Karimireddy et al. 2021, "Breaking the centralized barrier for cross-device
federated learning", Algorithm 2 (MimeLite), as TFF's
`tff.learning.algorithms.build_weighted_mime_lite`: clients step with the
server's optimizer state, which they do not change, so that their steps are
those of the centralized optimizer. In round t, with cohort S_t:

    1. the server sends (w_t, s_t) to the clients of S_t    (`initial_extra`)
    2. client k: in each step w <- w - eta U(g(w; b), s_t)  (`Mimic.apply`)
    3. and g_k = grad F_k(w_t) over all its examples        (`Mimic.apply`)
    4. it sends (w_t - w_k, g_k)                            (`Mimic.result`)
    5. delta_t, g_t = their means, weighted by a_k          (aggregator)
    6. s_{t+1} = V(g_t, s_t)                                (`server_step`)
    7. w_{t+1} = server_optimizer(w_t, gradient = delta_t)  (finalizer)

    symbol  name
    U, V    client_optimizer, the base optimizer: its step and its state
    s       LocalRule's `extra`: that state (momentum, squared gradients, ...)
    eta     learning rate of client_optimizer
    a_k     weighting: examples trained on, or 1

The base optimizer is SGD with momentum, Adam, ...; of plain SGD s_t is empty,
and this is FedAvg at twice its upload. Each step computes two gradients, at w
and at w_t, so that an example costs twice what it does in FedAvg; over several
epochs g_k is computed in each of them anew.

Under central DP the pair (w_t - w_k, g_k) is clipped as one vector and noised
as one: each client moves both means together by no more than the clip, and s
follows from the noised ones. A vector of twice as many numbers has sqrt(2) of
the noise, and where g_k is much longer than w_t - w_k (they differ by about eta
times the steps) the clip leaves little of the latter.
"""

import collections
import dataclasses
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.algorithms import fedavg
from tff_cnn.algorithms.full_gradient import FullGradient
from tff_cnn.algorithms.local_rule import LocalRule, Optimizer
from tff_cnn.algorithms.local_training import Parts
from tff_cnn.algorithms.rule_process import RuleProcess

_RATE = tff.learning.optimizers.LEARNING_RATE_KEY


@dataclasses.dataclass(frozen=True)
class Mimic(LocalRule):
    """Steps with the server's state. The carry: (the round's rate, g_k).

    Attributes:
      optimizer: The base optimizer.
    """

    optimizer: Optimizer

    def initial_extra(self, weights):
        """s_0."""
        state = self.optimizer.initialize(_specs(weights))
        return tf.nest.map_structure(
            lambda value: tf.convert_to_tensor(value).numpy(), state
        )

    def initial_carry(self, optimizer, weights):
        """The learning rate, which may be scheduled, and nothing of g_k."""
        rate = tf.convert_to_tensor(optimizer.initialize(())[_RATE])
        return rate, FullGradient.of_nothing(weights)

    def gradients(self, base, step):
        """Of the batch, at w and at w_t."""
        at_sent, _, _ = base(step._replace(weights=step.sent.weights))
        gradients, loss, logits = base(step)
        return (gradients, at_sent), loss, logits

    def apply(self, optimizer, carry, step, gradients):
        """Steps 2 and 3."""
        rate, full_gradient = carry
        gradient, at_sent = gradients
        state = collections.OrderedDict(step.sent.extra, **{_RATE: rate})
        _, weights = optimizer.next(state, step.weights, gradient)
        return (rate, full_gradient.plus(at_sent, step.is_real)), weights

    def result(self, trained):
        """Step 4."""
        update, _ = super().result(trained)
        _, full_gradient = trained.carry
        return (update, full_gradient.mean), ()

    def server_step(self, server, aggregate, num_clients):
        """Step 6. A round of nobody is one whose gradient is zero.

        It does not ask whether there was anybody: a cohort's size is no more
        public than the rest of it.
        """
        del num_clients
        update, gradient = aggregate
        zeros = tf.nest.map_structure(tf.zeros_like, gradient)
        state, _ = self.optimizer.next(server.extra, zeros, gradient)
        return update, state


def _specs(weights: Any) -> Any:
    return tf.nest.map_structure(
        lambda w: tf.TensorSpec(w.shape, w.dtype), tuple(weights)
    )


def build_mime_lite(parts: Parts) -> RuleProcess:
    """Builds the process.

    Args:
      parts: As of `fedavg.build_fedavg`; `client_optimizer` is the base
        optimizer.
    """
    return fedavg.build_with(parts, Mimic(parts.client_optimizer))
