"""Learning rates that change from round to round, of clients and of the server.

A schedule is a pure function (round, rounds, ...) -> factor of the learning
rate, in [0, 1]. Each begins with `warmup_rounds` W, in which the factor rises
in equal steps, 1 / (W + 1), 2 / (W + 1), ..., and is 1 in round W + 1, the
first of those that the schedule is of (Goyal et al. 2017, section 2.2, in
rounds). With t >= 0 rounds after that one, T of them in all, and the options'
names:

    constant      1
    linear        1 - (1 - f) t / T                       f  final_factor
    cosine        f + (1 - f) (1 + cos(pi t / T)) / 2
    exponential   d ^ (t / k)                             d  decay_factor
    step          d ^ floor(t / k)                        k  decay_rounds
    inverse_sqrt  sqrt(k / (k + t))

cosine is Loshchilov & Hutter 2017 without restarts, inverse_sqrt Vaswani et al.
2017's. f is what linear and cosine would reach in the round after the last.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

Optimizer = tff.learning.optimizers.Optimizer
_RATE = tff.learning.optimizers.LEARNING_RATE_KEY

# The field of a client's element that holds the round's factor, float32, [].
FIELD = "rate_factor"
FACTOR_SPEC = tf.TensorSpec([], tf.float32)


def constant(number: int, rounds: int, warmup_rounds: int = 0) -> float:
    """See the module."""
    del rounds
    return _warm(number, warmup_rounds)


def linear(
    number: int, rounds: int, warmup_rounds: int = 0, final_factor: float = 0.0
) -> float:
    """See the module."""
    done = _progress(number, rounds, warmup_rounds)
    return _warm(number, warmup_rounds) * (1 - (1 - final_factor) * done)


def cosine(
    number: int, rounds: int, warmup_rounds: int = 0, final_factor: float = 0.0
) -> float:
    """See the module."""
    done = _progress(number, rounds, warmup_rounds)
    fall = (1 + math.cos(math.pi * done)) / 2
    factor = final_factor + (1 - final_factor) * fall
    return _warm(number, warmup_rounds) * factor


def exponential(
    number: int,
    rounds: int,
    warmup_rounds: int = 0,
    decay_factor: float = 0.99,
    decay_rounds: int = 1,
) -> float:
    """See the module."""
    del rounds
    times = _after(number, warmup_rounds) / decay_rounds
    return _warm(number, warmup_rounds) * decay_factor**times


def step(
    number: int,
    rounds: int,
    warmup_rounds: int = 0,
    decay_factor: float = 0.1,
    decay_rounds: int = 100,
) -> float:
    """See the module."""
    del rounds
    times = _after(number, warmup_rounds) // decay_rounds
    return _warm(number, warmup_rounds) * decay_factor**times


def inverse_sqrt(
    number: int, rounds: int, warmup_rounds: int = 0, decay_rounds: int = 1
) -> float:
    """See the module."""
    del rounds
    time = _after(number, warmup_rounds)
    factor = math.sqrt(decay_rounds / (decay_rounds + time))
    return _warm(number, warmup_rounds) * factor


def _warm(number: int, warmup_rounds: int) -> float:
    return min(1.0, number / (warmup_rounds + 1))


def _after(number: int, warmup_rounds: int) -> int:
    """t: rounds since the first one at the full rate."""
    return max(0, number - warmup_rounds - 1)


def _progress(number: int, rounds: int, warmup_rounds: int) -> float:
    """t / T, in [0, 1]: 1 in rounds after the last."""
    return min(
        1.0, _after(number, warmup_rounds) / max(1, rounds - warmup_rounds)
    )


def at_server(optimizer: Optimizer, factors: Sequence[float]) -> Optimizer:
    """A server optimizer whose learning rate is that of the round.

    TFF's own, whose state counts its steps: one a round, but where TFF rejects
    an aggregate that is not finite. A table, so that a factor has the same bits
    wherever it is computed.

    Args:
      optimizer: With the learning rate of factor 1.
      factors: Of rounds 1, 2, ..., and of one more than the run has: with the
        last round's state a run may go on for more of them. The last factor is
        that of all that follow.
    """
    table = rates(optimizer, factors)

    def rate_of(num_steps):
        last = tf.constant(len(table) - 1, num_steps.dtype)
        return tf.gather(tf.constant(table), tf.minimum(num_steps, last))

    return tff.learning.optimizers.schedule_learning_rate(optimizer, rate_of)


def has_rate(optimizer: Optimizer) -> bool:
    """Whether its state has a learning rate, as that of TFF's optimizers."""
    return _RATE in optimizer.initialize(())


def rates(optimizer: Optimizer, factors: Sequence[float]) -> np.ndarray:
    """Learning rates, float32, with the bits that optimizers compute with."""
    rate = optimizer.initialize(())[_RATE]
    return np.float32(rate) * np.float32(factors)


class InRound(tff.learning.optimizers.Optimizer):
    """A client optimizer that begins with a round's learning rate."""

    def __init__(self, optimizer: Optimizer, factor: tf.Tensor):
        """Args:
        optimizer: With the learning rate of factor 1, whose state this has.
        factor: float32, [].
        """
        self._optimizer = optimizer
        self._factor = factor

    def initialize(self, specs: Any) -> Any:
        """The optimizer's, with the round's learning rate."""
        state = self._optimizer.initialize(specs)
        return type(state)(state, **{_RATE: state[_RATE] * self._factor})

    def next(self, state: Any, weights: Any, gradients: Any) -> Any:
        """The optimizer's."""
        return self._optimizer.next(state, weights, gradients)

    def get_hparams(self, state: Any) -> Any:
        """The optimizer's; the learning rate is the round's."""
        return self._optimizer.get_hparams(state)

    def set_hparams(self, state: Any, hparams: Any) -> Any:
        """The optimizer's."""
        return self._optimizer.set_hparams(state, hparams)
