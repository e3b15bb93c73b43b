"""FedProx.

Li et al. 2020, "Federated Optimization in Heterogeneous Networks", Algorithm
2: FedAvg whose clients are pulled towards the weights that they were sent, and
of whom some do less work than others. In round t, with cohort S_t:

    1. the server sends w_t to the clients of S_t           (distributor)
    2. client k makes as many local steps as it has time
       for (the paper's gamma_k-inexactness)                (`local_steps`)
       on h_k(w; w_t) = F_k(w) + mu/2 ||w - w_t||^2,
       giving w_k                                           (`Pull`)
    3. delta_t = sum_k a_k (w_t - w_k) / sum_k a_k          (aggregator)
    4. w_{t+1} = server_optimizer(w_t, gradient = delta_t)  (finalizer)

    symbol  name
    mu      proximal_mu: >= 0; 0 is FedAvg, to the bit
    a_k     weighting: examples trained on, so that stragglers count less; or 1,
            as in the paper, which draws clients by their sizes instead

The paper's experiments have 0, 50 and 90 % of stragglers a round, whose work is
drawn uniformly; where FedAvg would drop them, FedProx takes what they did.
"""

import dataclasses
from typing import Any

import tensorflow_federated as tff

from tff_cnn.algorithms import fedavg
from tff_cnn.algorithms.local_rule import LocalRule, corrected
from tff_cnn.algorithms.local_training import Parts
from tff_cnn.core import randomness


@dataclasses.dataclass(frozen=True)
class Pull(LocalRule):
    """Local steps on h_k.

    Attributes:
      proximal_mu: >= 0; at 0 the gradient is that of F_k, untouched.
    """

    proximal_mu: float

    def constant(self, sent, kept):
        """-mu w_t."""
        return tuple(-self.proximal_mu * w_t for w_t in sent.weights)

    def gradients(self, base, step):
        """Step 2: grad h_k(w; w_t) = grad F_k(w) + mu (w - w_t)."""
        gradients, loss, logits = base(step)
        if not self.proximal_mu:
            return gradients, loss, logits
        return corrected(gradients, step, self.proximal_mu), loss, logits


def local_steps(
    options: Any, seed: int, number: int, client: int, num_steps: int
) -> int:
    """Local steps that a client has time for in a round.

    Each client is a straggler in each round with the same probability; its
    steps are drawn uniformly from 1 to all.

    Args:
      options: With the probability, `straggler_fraction`.
      seed: Root of what clients draw.
      number: Of the round.
      client: Its id.
      num_steps: All steps of that client; 0 of one without examples.
    """
    rng = randomness.generator(
        seed, randomness.Purpose.LOCAL_STEPS, number, client
    )
    is_straggler = rng.random() < options.straggler_fraction
    if not (is_straggler and num_steps):
        return num_steps
    return int(rng.integers(1, num_steps, endpoint=True))


def build_fedprox(
    parts: Parts, proximal_mu: float, straggler_fraction: float = 0.0
) -> tff.learning.templates.LearningProcess:
    """Builds the learning process.

    Args:
      parts: As of `fedavg.build_fedavg`.
      proximal_mu: >= 0.
      straggler_fraction: Of `local_steps`; what clients hand over has no steps
        but those that they have time for.
    """
    del straggler_fraction
    return fedavg.build_with(parts, Pull(proximal_mu))
