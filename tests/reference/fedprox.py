"""NumPy FedProx, line by line after Li et al. 2020, Algorithm 2.

Softmax regression, as `tests.reference.fedavg`; step 3 of the algorithm, an
inexact minimizer, is a number of gradient steps, as in the paper's experiments.
"""

import numpy as np

from tests.reference.fedavg import softmax_gradient


def batches_of(num_examples, epochs, batch_size):
    """The examples of each local step, in order."""
    for _ in range(epochs):
        for start in range(0, num_examples, batch_size):
            yield slice(start, min(start + batch_size, num_examples))


def client_update(w_t, images, labels, batches, learning_rate, mu):
    """argmin_w h_k(w; w_t) = F_k(w) + mu / 2 ||w - w_t||^2, inexactly."""
    w = [a.copy() for a in w_t]
    for batch in batches:
        gradient = softmax_gradient(w, images[batch], labels[batch])
        w = [
            a - learning_rate * (g + mu * (a - a_t))
            for a, g, a_t in zip(w, gradient, w_t, strict=True)
        ]
    return w


def server_round(w_t, clients, all_batches, shares, learning_rate, mu):
    """w^{t+1}: the mean of w_k^{t+1} over the clients that were chosen."""
    trained = [
        client_update(w_t, images, labels, batches, learning_rate, mu)
        for (images, labels), batches in zip(clients, all_batches, strict=True)
    ]
    return [
        np.average(found, axis=0, weights=shares)
        for found in zip(*trained, strict=True)
    ]
