"""Ditto: personal models beside a global one.

Li et al. 2021, "Ditto: Fair and Robust Federated Learning Through
Personalization", Algorithm 1, with FedAvg as the solver of the global
objective. In round t, with cohort S_t:

    1. the server sends w_t to the clients of S_t              (distributor)
    2. client k trains w_t on its data, giving w_k             (client work)
    3. and, for as many steps,
       v_k <- opt(v_k, grad F_k(v_k) + lambda (v_k - w_t))     (client work)
    4. w_{t+1} = w_t + mean of w_k - w_t; v_k stays where it is

    symbol  name
    w_t     sent.weights
    v_k     kept
    lambda  ditto_lambda
    eta     learning rate of client_optimizer, of w_k and of v_k
    s       steps of v_k: those of w_k

Steps of w_k and of v_k are on the same batches, in one loop; each takes two
gradients, and so a round twice FedAvg's time. v_k has no influence on what is
sent: the global model is FedAvg's, to the bit. With lambda = 0 v_k knows only
its own client.

Algorithm 1 takes v_k of round 0 as given; here it is w_0, for all clients. A
v_k moves only in rounds that its client takes part in. Where eta lambda is 2
or more, SGD overshoots w_t; a v_k that would not be finite stays what it was.
"""

import dataclasses
from typing import Any

import tensorflow as tf

from tff_cnn.algorithms import fedavg
from tff_cnn.algorithms.local_rule import (
    GradientFunction,
    LocalRule,
    Sent,
    Step,
    Trained,
)
from tff_cnn.algorithms.local_training import Parts
from tff_cnn.algorithms.rule_process import RuleProcess
from tff_cnn.core.weights import Weights


@dataclasses.dataclass(frozen=True)
class BesideGlobal(LocalRule):
    """Local weights are those of two models: w_k, then v_k.

    Attributes:
      ditto_lambda: >= 0.
    """

    ditto_lambda: float

    # State.

    def initial_kept(self, weights: Weights) -> Any:
        """v_k = w_0."""
        return tuple(weights)

    # Client step.

    def start(self, sent: Sent, kept: Any) -> tuple[tf.Tensor, ...]:
        """(w_t, v_k)."""
        return (*sent.weights, *kept)

    def gradients(self, base: GradientFunction, step: Step) -> tuple:
        """Of steps 2 and 3; loss and logits are those of w_k."""
        w, v = _halves(step.weights)
        of_w, loss, logits = base(step._replace(weights=w))
        # Noise of DP-SGD on v_k must not be that of w_k.
        of_v, _, _ = base(step._replace(weights=v, seed=~step.seed))
        drawn = tf.nest.map_structure(
            lambda g, own, w_t: g + self.ditto_lambda * (own - w_t),
            tuple(of_v),
            v,
            tuple(step.sent.weights),
        )
        return (*of_w, *drawn), loss, logits

    def result(self, trained: Trained) -> tuple[Any, Any]:
        """w_t - w_k is sent; v_k is kept."""
        w, v = _halves(trained.weights)
        update, _ = super().result(trained._replace(weights=w))
        is_finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(leaf)) for leaf in v]
        )
        # Else the client's update would be left out for the sake of v_k.
        kept = tf.nest.map_structure(
            lambda new, old: tf.where(is_finite, new, old),
            v,
            tuple(trained.kept),
        )
        return update, kept

    # Server step: FedAvg's.

    def personal_model(self, server: Sent, kept: Any) -> Weights:
        """v_k."""
        return kept


def _halves(weights: tuple) -> tuple[tuple, tuple]:
    """(w_k, v_k)."""
    middle = len(weights) // 2
    return tuple(weights[:middle]), tuple(weights[middle:])


def build_ditto(parts: Parts, ditto_lambda: float) -> RuleProcess:
    """Builds the process.

    Args:
      parts: As of `fedavg.build_fedavg`.
      ditto_lambda: >= 0; 0 trains personal models on their own.
    """
    return fedavg.build_with(parts, BesideGlobal(ditto_lambda))
