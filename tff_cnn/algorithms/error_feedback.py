"""Error feedback: what a client's codes leave out it sends another time.

Seide et al. 2014, "1-Bit Stochastic Gradient Descent and its Application to
Data-Parallel Distributed Training of Speech DNNs"; Stich et al. 2018,
"Sparsified SGD with Memory", Algorithm 1; Karimireddy et al. 2019, "Error
Feedback Fixes SignSGD and other Gradient Compression Schemes", Algorithm 2.
Every client k keeps e_k, at first zero. In a round its rule finds an update
u_k, and then

    1. p_k = u_k + e_k                       (`result`)
    2. k sends the code of p_k; the server has C(p_k)
    3. e_k = p_k - C(p_k)

    symbol  name
    u_k     what the wrapped rule's `result` returns, all of it
    e_k     kept beside what the wrapped rule keeps
    C       ErrorFeedback.codecs

So the sum of all that was decoded is the sum of all updates, but for the last
e_k. With |p - C(p)|**2 <= (1 - delta) |p|**2 and updates of a bounded norm B,
|e_k| never exceeds 2 B / delta (Karimireddy et al. 2019, Lemma 3, where updates
are gradients of bounded mean).

A client that takes part seldom has an old e_k. One that is excluded, as its
update is not finite, keeps the e_k that it had, as all that it keeps.

Under DP-SGD of examples (`algorithms.dp_sgd`) u_k, and so e_k and all codes,
follow from gradients that have their noise: nothing more is to be counted, for
no amplification by the sampling of clients is. Noise on updates is another
matter: what a clip allows of one update is not all that a client sends of it.

Time and bytes are the codecs'. Memory: an update for each client that has
taken part (`core.client_states`).
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tff_cnn.aggregators.codecs import Codecs, Seeds
from tff_cnn.aggregators.encoded import WEIGHT_BYTES, own_seed, shared_seed
from tff_cnn.algorithms.local_rule import LocalRule, Result, Sent, Trained
from tff_cnn.algorithms.local_training import Parts


@dataclasses.dataclass(frozen=True)
class ErrorFeedback(LocalRule):
    """A rule whose clients send codes of their updates.

    The server has and sends, beside the `extra` of the wrapped rule, the
    number of the round, of which codes draw; clients keep e_k beside what that
    rule has them keep.

    Attributes:
      rule: That is wrapped.
      codecs: Of what its clients send.
      initial_error: e_k, zeros: of each of the update's tensors.
    """

    rule: LocalRule
    codecs: Codecs
    initial_error: tuple[np.ndarray, ...]

    def shared(self, weights):
        return self.rule.shared(weights)

    def initial_extra(self, weights):
        return self.rule.initial_extra(weights), np.int64(0)

    def sent_extra(self, extra):
        inner, number = extra
        return self.rule.sent_extra(inner), number

    def initial_kept(self, weights):
        return self.rule.initial_kept(weights), self.initial_error

    def start(self, sent, kept):
        return self.rule.start(_inner(sent), kept[0])

    def constant(self, sent, kept):
        return self.rule.constant(_inner(sent), kept[0])

    def initial_carry(self, optimizer, weights):
        return self.rule.initial_carry(optimizer, weights)

    def gradients(self, base, step):
        return self.rule.gradients(base, _within(step))

    def apply(self, optimizer, carry, step, gradients):
        return self.rule.apply(optimizer, carry, _within(step), gradients)

    def result(self, trained):
        """Steps 1 to 3."""
        update, kept, _ = Result(*self.rule.result(_within(trained)))
        _, error = trained.kept
        leaves = tf.nest.flatten(update)
        total = [u + e for u, e in zip(leaves, error, strict=True)]
        _, number = trained.sent.extra
        seeds = Seeds(shared_seed(number), own_seed(total, number))
        found, size = self.codecs.transmitted(total, seeds)
        error = tuple(p - c for p, c in zip(total, found, strict=True))
        found = tf.nest.pack_sequence_as(update, found)
        return Result(found, (kept, error), size + WEIGHT_BYTES)

    def server_step(self, server, aggregate, num_clients):
        inner, number = server.extra
        gradient, extra = self.rule.server_step(
            Sent(server.weights, inner), aggregate, num_clients
        )
        return gradient, (extra, number + 1)

    def model(self, server, initial):
        return self.rule.model(_inner(server), initial)

    def personal_model(self, server, kept):
        return self.rule.personal_model(_inner(server), kept[0])

    @property
    def has_personal_models(self) -> bool:
        return self.rule.has_personal_models


def wrapped(rule: LocalRule, parts: Parts) -> ErrorFeedback:
    """A rule with error feedback.

    Args:
      rule: Of an algorithm.
      parts: Of the same; `feedback` are the codecs of what its clients send.
    """
    zeros = tuple(
        np.zeros(shape, np.float32) for shape in _update_shapes(rule, parts)
    )
    return ErrorFeedback(rule, parts.feedback, zeros)


def _update_shapes(rule: LocalRule, parts: Parts) -> list[tf.TensorShape]:
    """Of all tensors that clients send: of one that takes no step."""

    def constants(structure):
        return tf.nest.map_structure(tf.constant, structure)

    initial, _ = parts.model.initial_weights
    extra = rule.sent_extra(constants(rule.initial_extra(initial)))
    sent = Sent(tuple(constants(rule.shared(initial))), extra)
    kept = constants(rule.initial_kept(initial))
    weights = rule.start(sent, kept)
    carry = rule.initial_carry(parts.client_optimizer, weights)
    trained = Trained(weights, sent, kept, tf.constant(0), carry)
    update = Result(*rule.result(trained)).update
    return [leaf.shape for leaf in tf.nest.flatten(update)]


def _inner(sent: Sent) -> Sent:
    """What the wrapped rule's clients are sent, or its server has."""
    return Sent(sent.weights, sent.extra[0])


def _within(step: Any) -> Any:
    """A `Step` or `Trained` of the wrapped rule."""
    return step._replace(sent=_inner(step.sent), kept=step.kept[0])
