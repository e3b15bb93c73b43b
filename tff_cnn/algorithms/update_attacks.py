"""Clients that send something else than what they have trained.

What they send is a function of their own update and of what attackers know
together (`core.update_attacks`): a sum over the attackers of a round, or over
its honest clients. An attacker keeps its weight, which is what its data says.

Where clients encode their updates themselves (`error_feedback`) the server has
of attackers, too, no more than a code says: what they send is encoded as any
update is, without what has been left out before.
"""

import collections
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators.codecs import Codecs, Seeds
from tff_cnn.aggregators.encoded import WEIGHT_BYTES, own_seed, shared_seed
from tff_cnn.core.update_attacks import Attacker, Known, UpdateAttack

# The fields of a client's element that say what is known of it as an attacker,
# in the order of `Attacker`. A process whose elements lack them knows nothing
# of attacks.
SPECS = collections.OrderedDict(
    attacker=tf.TensorSpec([], tf.float32),
    attacker_seed=tf.TensorSpec([2], tf.int64),
    attacker_round=tf.TensorSpec([], tf.float32),
)


class Sending(NamedTuple):
    """What clients send.

    Attributes:
      update: float32 tensors.
      weight: float32, scalar.
      is_excluded: int32, scalar: 1 where neither counts, and both are zero.
      counts: float32, scalar: 1 where the weight is anything.
      num_bytes: int64, scalar: of what is sent, as far as clients encode it
        themselves; else 0.
    """

    update: Any
    weight: Any
    is_excluded: Any
    counts: Any
    num_bytes: Any


class _Numbers(NamedTuple):
    """Of a client, and summed of all: what `Known` has beside `total`."""

    seen: Any
    clients: Any
    attackers: Any
    weight: Any
    weight_of_attackers: Any


def fields(
    is_attacker: bool, seed: np.ndarray, round_num: int
) -> collections.OrderedDict:
    """The fields of a client's element (`SPECS`).

    Args:
      is_attacker: In this round.
      seed: int64, [2]: of the client and round.
      round_num: From 1.
    """
    values = np.float32(is_attacker), seed, np.float32(round_num)
    return collections.OrderedDict(zip(SPECS, values, strict=True))


def of(element: Mapping[str, tf.Tensor]) -> Attacker:
    """What a client's element says of it; nobody, where it has no fields."""
    return Attacker(
        *(
            element.get(name, tf.zeros(spec.shape, spec.dtype))
            for name, spec in SPECS.items()
        )
    )


def has_finite_norm(update: Any) -> tf.Tensor:
    """Whether an update can be sent: bool, scalar.

    Not where any number is not finite; and what is finite but longer than
    1.8e19 would overflow where norms are computed.

    Args:
      update: float32 tensors.
    """
    squares = [tf.reduce_sum(tf.square(u)) for u in tf.nest.flatten(update)]
    return tf.math.is_finite(tf.add_n(squares))


def federated(
    attack: UpdateAttack,
    sending_type: tff.Type,
    attacker_type: tff.Type,
    codecs: Codecs | None = None,
) -> Callable:
    """(`Sending`, `Attacker`) at the clients -> the `Sending` of the attack.

    Args:
      attack: What attackers do.
      sending_type: Of a client's `Sending`.
      attacker_type: Of its `Attacker`.
      codecs: What clients encode with; None where they send updates as they
        are.
    """

    @tff.tensorflow.computation(sending_type, attacker_type)
    def observe(trained, attacker):
        attacks = _attacks(trained, attacker)
        is_seen = attacks
        if attack.sees_honest:
            is_seen = trained.counts - attacks
        observed = tf.nest.map_structure(
            # Not by a product: updates may have numbers that are infinite.
            lambda x: tf.where(is_seen > 0, x, tf.zeros_like(x)),
            attack.observed(trained.update),
        )
        weight = trained.weight
        return observed, _Numbers(
            is_seen, trained.counts, attacks, weight, attacks * weight
        )

    observed_type, numbers_type = observe.type_signature.result

    @tff.tensorflow.computation(
        sending_type, attacker_type, observed_type, numbers_type
    )
    def send(trained, attacker, total, numbers):
        known = Known(
            total,
            numbers.seen,
            numbers.clients,
            numbers.attackers,
            tf.math.divide_no_nan(numbers.weight_of_attackers, numbers.weight),
        )
        attacks = _attacks(trained, attacker) > 0
        sent = attack.sent(trained.update, known, attacker)
        is_bad = attacks & ~has_finite_norm(sent)
        size = trained.num_bytes
        if codecs is not None:
            sent, of_code = _encoded(codecs, sent, attacker)
            is_bad |= attacks & ~has_finite_norm(sent)
            size = tf.where(attacks, of_code, size)

        def chosen(honest, other):
            found = tf.where(attacks, other, honest)
            return tf.where(is_bad, tf.zeros_like(found), found)

        kept = 1.0 - tf.cast(is_bad, tf.float32)
        return Sending(
            tf.nest.map_structure(chosen, trained.update, sent),
            kept * trained.weight,
            tf.maximum(trained.is_excluded, tf.cast(is_bad, tf.int32)),
            kept * trained.counts,
            size,
        )

    def next_fn(trained, attacker):
        observed, numbers = tff.federated_map(observe, (trained, attacker))
        total = tff.federated_broadcast(tff.federated_sum(observed))
        numbers = tff.federated_broadcast(tff.federated_sum(numbers))
        return tff.federated_map(send, (trained, attacker, total, numbers))

    return next_fn


def _encoded(codecs: Codecs, update: Any, attacker: Attacker) -> Any:
    """(what the server has of an update, its bytes)."""
    leaves = tf.nest.flatten(update)
    # As `error_feedback` counts rounds.
    number = tf.cast(attacker.round_num, tf.int64) - 1
    seeds = Seeds(shared_seed(number), own_seed(leaves, number))
    found, size = codecs.transmitted(leaves, seeds)
    return tf.nest.pack_sequence_as(update, found), size + WEIGHT_BYTES


def _attacks(trained: Sending, attacker: Attacker) -> tf.Tensor:
    """1 of an attacker whose update counts, else 0: float32, scalar."""
    return trained.counts * attacker.is_attacker
