"""NumPy FedAvg, line by line after McMahan et al. 2017, Algorithm 1.

The model is softmax regression, whose gradient is short enough to check by
eye: the point is the algorithm.
"""

import numpy as np


def softmax_gradient(weights, images, labels):
    """Gradient of the mean cross-entropy of softmax(x W + b)."""
    kernel, bias = weights
    flat = images.reshape(len(images), -1)
    logits = flat @ kernel + bias
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    errors = exponentials / exponentials.sum(axis=1, keepdims=True)
    errors[np.arange(len(labels)), labels] -= 1
    errors /= len(labels)
    return [flat.T @ errors, errors.sum(axis=0)]


def client_update(weights, images, labels, epochs, batch_size, learning_rate):
    """ClientUpdate(k, w): run on client k."""
    weights = [w.copy() for w in weights]
    for _ in range(epochs):  # for each local epoch i from 1 to E do
        for start in range(0, len(labels), batch_size):  # for batch b in B do
            batch = slice(start, start + batch_size)
            gradient = softmax_gradient(weights, images[batch], labels[batch])
            for w, g in zip(weights, gradient, strict=True):
                w -= learning_rate * g  # w <- w - eta * grad l(w; b)
    return weights


def server_round(
    weights,
    momentum_buffer,
    clients,
    client_weights,
    server_learning_rate,
    server_momentum,
    **local,
):
    """One round of the server, with its optimizer (Reddi et al. 2021)."""
    total = sum(client_weights)
    mean_update = [np.zeros_like(w) for w in weights]
    for (images, labels), share in zip(clients, client_weights, strict=True):
        trained = client_update(weights, images, labels, **local)
        for mean, before, after in zip(
            mean_update, weights, trained, strict=True
        ):
            mean += share / total * (before - after)  # sum_k n_k / n * delta_k
    new_buffer = [
        server_momentum * m + u
        for m, u in zip(momentum_buffer, mean_update, strict=True)
    ]
    new_weights = [
        w - server_learning_rate * m
        for w, m in zip(weights, new_buffer, strict=True)
    ]
    return new_weights, new_buffer
