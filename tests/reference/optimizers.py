"""NumPy server optimizers, line by line after Reddi et al. 2021, Algorithm 2.

Each is a generator: it is sent Delta_t (an array) and yields w_{t+1}, from w_0
on. Where TFF's optimizers differ from the paper a line says so.
"""

import numpy as np


def sgd(w, eta, momentum=0.0, nesterov=False):
    """FedAvgM: Hsu et al. 2019, section 4.3; Sutskever et al. 2013."""
    v = np.zeros_like(w)
    while True:
        delta = yield w
        v = momentum * v + delta
        w = w + eta * (delta + momentum * v if nesterov else v)


def adagrad(w, eta, tau=1e-7, v0=0.1):
    v = np.full_like(w, v0)
    while True:
        delta = yield w
        v = v + delta**2
        w = w + eta * delta / np.sqrt(v + tau)  # The paper: sqrt(v) + tau.


def _adaptive(w, eta, beta1, beta2, tau, v0, second_moment):
    m, v, t = np.zeros_like(w), np.full_like(w, v0), 0
    while True:
        delta = yield w
        t += 1
        m = beta1 * m + (1 - beta1) * delta
        v = second_moment(v, delta**2, beta2)
        # Kingma & Ba 2015: the paper leaves the correction of the bias out.
        corrected = eta * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        w = w + corrected * m / (np.sqrt(v) + tau)


def adam(w, eta, beta1=0.9, beta2=0.999, tau=1e-7):
    return _adaptive(
        w, eta, beta1, beta2, tau, 0.0, lambda v, d, b: b * v + (1 - b) * d
    )


def yogi(w, eta, beta1=0.9, beta2=0.999, tau=1e-3, v0=1e-6):
    return _adaptive(
        w,
        eta,
        beta1,
        beta2,
        tau,
        v0,
        lambda v, d, b: v - (1 - b) * d * np.sign(v - d),
    )
