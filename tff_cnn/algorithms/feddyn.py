"""FedDyn: each client's loss is regularized anew in every round.

Acar et al. 2021, "Federated Learning Based on Dynamic Regularization",
Algorithm 1. Every client k keeps g_k, the gradient of its loss at the last
model that it found, at first zero; the server has h, at first zero. In a round
with cohort P of m clients:

    1. the server sends theta                               (distributor)
    2. theta_k minimizes, from theta on,
       L_k(w) - <g_k, w> + alpha / 2 |w - theta|^2          (`gradients`)
    3. g_k = g_k - alpha (theta_k - theta)                  (`result`)
    4. h = h - alpha / m sum over P of (theta_k - theta)    (`server_step`)
       theta = mean over P of theta_k - h / alpha

    symbol   name
    theta    Sent.weights
    theta_k  Step.weights
    g_k      Step.kept
    h        the server's extra; it is not sent
    alpha    feddyn_alpha
    m        num_clients

The minimum of step 2 is sought by the client's optimizer, on batches, for as
many epochs as is said. Bytes are FedAvg's; a step reads two vectors of weights
more than FedAvg's, a constant one and that of the pull. What the server
optimizer gets as gradient is the old theta minus the new one of step 4, so that
gradient descent of rate 1 without momentum is the paper's. Where nobody took
part nothing changes: step 4 would move theta by h / alpha.

As alpha becomes small the pull vanishes, but h / alpha does not: it is the sum,
over the rounds, of |P| / m of the mean step. So there is no alpha for which
this is FedAvg, and no alpha of zero.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tff_cnn.algorithms import fedavg, rule_process
from tff_cnn.algorithms.local_rule import LocalRule, corrected
from tff_cnn.algorithms.local_training import Parts


@dataclasses.dataclass(frozen=True)
class DynamicRegularizer(LocalRule):
    """FedDyn's rule.

    Attributes:
      alpha: > 0.
      num_clients: m >= 1.
    """

    alpha: float
    num_clients: int

    def initial_extra(self, weights):
        """h."""
        return tuple(np.zeros_like(w, np.float32) for w in weights)

    def sent_extra(self, extra):
        return ()

    def initial_kept(self, weights):
        """g_k."""
        return self.initial_extra(weights)

    def constant(self, sent, kept):
        """-g_k - alpha theta."""
        return tf.nest.map_structure(
            lambda g_k, theta: -g_k - self.alpha * theta,
            tuple(kept),
            tuple(sent.weights),
        )

    def gradients(self, base, step):
        """Step 2: grad F_k(w) - g_k + alpha (w - theta)."""
        gradients, loss, logits = base(step)
        return corrected(gradients, step, self.alpha), loss, logits

    def result(self, trained):
        """Step 3."""
        update, _ = super().result(trained)
        kept = tf.nest.map_structure(
            lambda g_k, u: g_k + self.alpha * u, trained.kept, update
        )
        return update, kept

    def server_step(self, server, aggregate, num_clients):
        """Step 4; the mean update is that of theta - theta_k."""
        share = num_clients / self.num_clients
        h = tf.nest.map_structure(
            lambda h, u: h + self.alpha * share * u, server.extra, aggregate
        )
        gradient = tf.nest.map_structure(
            lambda u, h: tf.where(num_clients > 0, u + h / self.alpha, 0.0),
            aggregate,
            h,
        )
        return gradient, h


def build_feddyn(parts: Parts, feddyn_alpha: float) -> rule_process.RuleProcess:
    """Builds the process.

    Args:
      parts: Of the algorithm.
      feddyn_alpha: alpha, > 0.
    """
    rule = DynamicRegularizer(feddyn_alpha, parts.num_clients)
    return fedavg.build_with(parts, rule)
