"""FedBuff: a server that makes a step of every so many updates that arrive.

Nguyen et al. 2022, "Federated Learning with Buffered Asynchronous
Aggregation", Algorithms 1 and 2, with its scaling by staleness: an update that
is tau steps of the server old counts s(tau) = 1 / sqrt(1 + tau) times. At
any time a number of clients is at work; whenever one has come back another
begins, with the server's weights of that moment. So client i, which began at
step t - tau and arrives for step t, has

    1. y_0 = w_{t-tau}                            (`start`)
    2. y_q = y_{q-1} - eta_l g(y_{q-1}), q <= Q   (local training)
    3. Delta_i = y_0 - y_Q                        (`result`)

and when there are K of them in the buffer the server computes

    4. Delta = (1 / K) sum_i s(tau_i) Delta_i     (`result`, aggregator)
    5. w_{t+1} = w_t - eta_g Delta                (server optimizer)

    symbol  name
    K       buffer_size
    s       staleness_weight: (1 + tau)^-staleness_exponent
    Q       steps of Batching
    eta_l   learning rate of client_optimizer
    eta_g   learning rate of server_optimizer

Who arrives when is decided by a simulated clock (`selection.arrivals`), and the
rounds are those of `training.engines.buffered`: one is a step of the server.
Where K clients are at work that are all equally fast, each step is of K updates
of one and the same w_t: FedAvg, each client counting the same. As everywhere, a
client that is not finite is left out, and the others' mean is taken.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tff_cnn.algorithms import fedavg
from tff_cnn.algorithms.local_rule import LocalRule, Sent, Trained
from tff_cnn.algorithms.local_training import Parts
from tff_cnn.algorithms.rule_process import RuleProcess
from tff_cnn.core.weights import Weights


class InFlight(NamedTuple):
    """What a client has kept since it began.

    Attributes:
      weights: float32: the server's when it began, w_{t-tau}.
      scale: float32, scalar: s(tau), as it is when its update arrives.
    """

    weights: Any
    scale: Any


@dataclasses.dataclass(frozen=True)
class BufferedRule(LocalRule):
    """A client trains what it was sent when it began.

    Attributes:
      staleness_exponent: >= 0; 0 counts all updates the same.
    """

    staleness_exponent: float

    def staleness_weight(self, staleness: int) -> float:
        """s(tau), in (0, 1]; that of 0 is 1.

        Args:
          staleness: tau, steps of the server since the client began; >= 0.
        """
        return (1.0 + staleness) ** -self.staleness_exponent

    def in_flight(self, weights: np.ndarray, staleness: int) -> np.ndarray:
        """What a client hands to the process that kept these weights.

        Args:
          weights: float32, [parameters]: one after the other, as `flattened`.
          staleness: tau.

        Returns:
          An `InFlight` as one row: float32, [parameters + 1].
        """
        scale = np.float32(self.staleness_weight(staleness))
        return np.append(weights, scale)

    def initial_kept(self, weights: Weights) -> InFlight:
        return InFlight(tuple(weights), np.float32(1))

    def start(self, sent: Sent, kept: InFlight) -> tuple[tf.Tensor, ...]:
        del sent  # Of now; it began before.
        return tuple(kept.weights)  # 1.

    def result(self, trained: Trained) -> tuple[Any, Any]:
        began, scale = trained.kept
        update = tuple(
            scale * (before - after)  # 3., and the weight in 4.
            for before, after in zip(began, trained.weights, strict=True)
        )
        return update, trained.kept


def flattened(weights: Weights) -> np.ndarray:
    """All weights one after the other: float32, [parameters]."""
    return np.concatenate([np.ravel(w) for w in weights]).astype(np.float32)


def build_fedbuff(
    parts: Parts, staleness_exponent: float, **of_the_clock: Any
) -> RuleProcess:
    """Builds the process of one step of the server.

    Args:
      parts: Of the algorithm; each update counts the same but for staleness.
      staleness_exponent: See `BufferedRule`.
      **of_the_clock: Other options, which the engine has use for.
    """
    del of_the_clock
    return fedavg.build_with(parts, BufferedRule(staleness_exponent))
