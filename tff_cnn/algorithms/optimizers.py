"""Client and server optimizers: TFF's, and Nesterov's momentum.

At the server they are those of Reddi et al. 2021, "Adaptive Federated
Optimization", Algorithm 2, where Delta_t is the mean of w_k - w_t, of which the
process hands over -Delta_t as the gradient g_t:

    m_t = beta1 m_{t-1} + (1 - beta1) Delta_t
    v_t = v_{t-1} + Delta_t^2                                      (adagrad)
    v_t = v_{t-1} - (1 - beta2) Delta_t^2 sign(v_{t-1} - Delta_t^2)   (yogi)
    v_t = beta2 v_{t-1} + (1 - beta2) Delta_t^2                       (adam)
    w_{t+1} = w_t + eta m_t / (sqrt(v_t) + tau)

    symbol  name                 the paper's         TFF's
    beta1   beta1                0.9 (adagrad: 0)    0.9 (adagrad has none)
    beta2   beta2                0.99                0.999
    tau     epsilon              1e-3                1e-7, yogi 1e-3
    v_0     initial_accumulator  tau^2, or more      adagrad 0.1, yogi 1e-6,
                                                     adam 0
    eta     learning_rate

TFF's adam and yogi also divide m_t by 1 - beta1^t and v_t by 1 - beta2^t, as
Kingma & Ba do, and its adagrad divides by sqrt(v_t + epsilon). Heavy-ball
momentum at the server is FedAvgM of Hsu et al. 2019.
"""

from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

_OPTIMIZERS = tff.learning.optimizers


def build_sgd(
    learning_rate: float, momentum: float = 0.0, nesterov: bool = False
) -> tff.learning.optimizers.Optimizer:
    """Gradient descent; without momentum it has no state.

    Args:
      learning_rate: > 0.
      momentum: In [0, 1).
      nesterov: Of which kind momentum is: see `Nesterov`.
    """
    plain = _OPTIMIZERS.build_sgdm(learning_rate, momentum or None)
    return Nesterov(plain) if nesterov and momentum else plain


def build_adam(
    learning_rate: float,
    beta1: float | None = None,
    beta2: float | None = None,
    epsilon: float | None = None,
) -> tff.learning.optimizers.Optimizer:
    """TFF's Adam; None is its own default."""
    return _OPTIMIZERS.build_adam(
        learning_rate, **_given(beta_1=beta1, beta_2=beta2, epsilon=epsilon)
    )


def build_adagrad(
    learning_rate: float,
    epsilon: float | None = None,
    initial_accumulator: float | None = None,
) -> tff.learning.optimizers.Optimizer:
    """TFF's Adagrad; None is its own default."""
    return _OPTIMIZERS.build_adagrad(
        learning_rate,
        **_given(
            epsilon=epsilon, initial_preconditioner_value=initial_accumulator
        ),
    )


def build_yogi(
    learning_rate: float,
    beta1: float | None = None,
    beta2: float | None = None,
    epsilon: float | None = None,
    initial_accumulator: float | None = None,
) -> tff.learning.optimizers.Optimizer:
    """TFF's Yogi; None is its own default."""
    return _OPTIMIZERS.build_yogi(
        learning_rate,
        **_given(
            beta_1=beta1,
            beta_2=beta2,
            epsilon=epsilon,
            initial_preconditioner_value=initial_accumulator,
        ),
    )


def _given(**values: float | None) -> dict[str, float]:
    return {name: v for name, v in values.items() if v is not None}


class Nesterov(tff.learning.optimizers.Optimizer):
    """Momentum that looks ahead, as Sutskever et al. 2013 write it.

        v = m v + g
        w = w - lr (g + m v)

    Nesterov's method, in weights that are one step of momentum ahead of his.
    """

    def __init__(self, heavy_ball: tff.learning.optimizers.Optimizer):
        """Args:
        heavy_ball: TFF's SGD with momentum, whose state this has.
        """
        self._heavy_ball = heavy_ball

    def initialize(self, specs: Any) -> Any:
        """v = 0, and the hyperparameters."""
        return self._heavy_ball.initialize(specs)

    def next(self, state: Any, weights: Any, gradients: Any) -> Any:
        """(state, weights) after a step."""
        state, _ = self._heavy_ball.next(state, weights, gradients)
        rate, momentum = state["learning_rate"], state["momentum"]
        weights = tf.nest.map_structure(
            lambda w, g, v: w - rate * (g + momentum * v),
            weights,
            gradients,
            state["accumulator"],
        )
        return state, weights

    def get_hparams(self, state: Any) -> Any:
        """Learning rate and momentum."""
        return self._heavy_ball.get_hparams(state)

    def set_hparams(self, state: Any, hparams: Any) -> Any:
        """A state with others."""
        return self._heavy_ball.set_hparams(state, hparams)
