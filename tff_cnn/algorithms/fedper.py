"""Federated learning with personalization layers.

Arivazhagan et al. 2019, "Federated Learning with Personalization Layers",
Algorithms 1 and 2. The model is a body W_B that all share and a head W_Pk of
each client's own. In round t, with cohort S_t:

    1. the server sends W_B to the clients of S_t              (distributor)
    2. client k trains (W_B, W_Pk) together, and keeps W_Pk    (client work)
    3. delta_t = sum_k a_k (W_B - W_Bk) / sum_k a_k            (aggregator)
    4. W_B <- server_optimizer(W_B, gradient = delta_t)        (finalizer)

    symbol  name
    W_B     shared: the weights of which `is_local` is False
    W_Pk    kept: those of which it is True
    gamma_k a_k: the weighting, examples trained on or 1

The paper trains all clients in all rounds, and aggregates by gamma_k = n_k / N
with a server optimizer of rate 1. Here the clients may be a sample: who was
not in it keeps the head it had. W_Pk is at first the model's own head, the
same for all.

The server never sees a head: it is neither sent nor counted in what is. So its
model, exported and evaluated as `test_accuracy`, is the body with the head of
round 0, and says little; what a client uses is its `personal_model`.
"""

import dataclasses
import re
from typing import Any

import tensorflow as tf

from tff_cnn.algorithms import fedavg
from tff_cnn.algorithms.local_rule import LocalRule, Sent, Trained
from tff_cnn.algorithms.local_training import Parts
from tff_cnn.algorithms.rule_process import RuleProcess
from tff_cnn.core.errors import UsageError
from tff_cnn.core.weights import Weights
from tff_cnn.models import HEAD


@dataclasses.dataclass(frozen=True)
class LocalHead(LocalRule):
    """Some weights never leave their client.

    Attributes:
      is_local: Of each trainable weight whether it is one of these.
    """

    is_local: tuple[bool, ...]

    # State.

    def shared(self, weights: Weights) -> Weights:
        """W_B."""
        return self._those(weights, local=False)

    def initial_kept(self, weights: Weights) -> Any:
        """W_Pk of round 0: the model's own head."""
        return self._those(weights, local=True)

    # Client step.

    def start(self, sent: Sent, kept: Any) -> tuple[tf.Tensor, ...]:
        """(W_B, W_Pk), which step 2 trains as one model."""
        return self._merged(sent.weights, kept)

    def result(self, trained: Trained) -> tuple[Any, Any]:
        """W_B - W_Bk is sent; W_Pk is kept."""
        body = self._those(trained.weights, local=False)
        update = tf.nest.map_structure(tf.subtract, trained.sent.weights, body)
        return update, self._those(trained.weights, local=True)

    # Server step: FedAvg's, on W_B. Its model:

    def model(self, server: Sent, initial: Weights) -> Weights:
        """W_B with the head of round 0, which nobody has trained."""
        return self._merged(server.weights, self._those(initial, local=True))

    def personal_model(self, server: Sent, kept: Any) -> Weights:
        """(W_B, W_Pk)."""
        return self._merged(server.weights, kept)

    def _those(self, weights: Weights, local: bool) -> tuple:
        pairs = zip(weights, self.is_local, strict=True)
        return tuple(w for w, is_local in pairs if is_local is local)

    def _merged(self, shared: Weights, local: Weights) -> tuple:
        shared, local = iter(shared), iter(local)
        return tuple(next(local if own else shared) for own in self.is_local)


def build_fedper(parts: Parts, local_layers: str = HEAD) -> RuleProcess:
    """Builds the process.

    Args:
      parts: As of `fedavg.build_fedavg`.
      local_layers: "head": the last layer with trainable weights; or a regular
        expression that the whole name of a layer matches.

    Raises:
      UsageError: It matches no layer that is trained, or all of them.
    """
    names = parts.model.weight_layers
    is_local = tuple(
        name == names[-1]
        if local_layers == HEAD
        else re.fullmatch(local_layers, name) is not None
        for name in names
    )
    if any(is_local) and not all(is_local):
        return fedavg.build_with(parts, LocalHead(is_local))
    found = "all layers" if any(is_local) else "no layer"
    raise UsageError(
        f"<algorithm.local_layers>={local_layers} matches {found} with "
        f"trained weights, which are {', '.join(dict.fromkeys(names))}: give "
        "one that matches some of them, and leaves others to be shared."
    )
