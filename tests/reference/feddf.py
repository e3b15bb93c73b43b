"""NumPy FedDF, line by line after Lin et al. 2020, Algorithm 1.

The model is softmax regression, the optimizer of the server Adam (Kingma & Ba
2015, in the form at the end of their section 2) with a cosine schedule.
"""

import numpy as np

from tests.reference import fedavg


def logits_of(weights, images):
    """f(x, d) of softmax regression."""
    kernel, bias = weights
    return images.reshape(len(images), -1) @ kernel + bias


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def divergence_gradient(weights, images, probabilities):
    """Gradient of the mean KL(probabilities || softmax(f(weights, images)))."""
    errors = softmax(logits_of(weights, images)) - probabilities
    errors /= len(images)
    return [images.reshape(len(images), -1).T @ errors, errors.sum(axis=0)]


def server_round(
    weights, clients, shares, public, batches, distill_rate, **local
):
    """One round: (x_t, every x_t^k)."""
    # for each client k in S_t: x_t^k <- Client-LocalUpdate(k, x_{t-1})
    models = [
        fedavg.client_update(weights, images, labels, **local)
        for images, labels in clients
    ]
    # initialize for model fusion: x_{t,0} <- sum_k n_k / n x_t^k
    student = [
        np.average(ws, axis=0, weights=shares)
        for ws in zip(*models, strict=True)
    ]
    first = [np.zeros_like(w) for w in student]
    second = [np.zeros_like(w) for w in student]
    # for j in {1, ..., N}: sample a mini-batch d
    for step, batch in enumerate(batches):
        images = public[batch]
        # use ensemble of {x_t^k} to update the server student
        scores = [logits_of(model, images) for model in models]
        gradient = divergence_gradient(
            student, images, softmax(np.mean(scores, axis=0))
        )
        rate = distill_rate * 0.5 * (1 + np.cos(np.pi * step / len(batches)))
        rate *= np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
        first = [
            0.9 * m + 0.1 * g for m, g in zip(first, gradient, strict=True)
        ]
        second = [
            0.999 * v + 0.001 * g**2
            for v, g in zip(second, gradient, strict=True)
        ]
        student = [
            w - rate * m / (np.sqrt(v) + 1e-7)
            for w, m, v in zip(student, first, second, strict=True)
        ]
    return student, models
