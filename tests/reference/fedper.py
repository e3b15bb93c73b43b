"""NumPy FedPer, after Arivazhagan et al. 2019, Algorithms 1 and 2.

The model is softmax(x W_B W_P + b_P): a linear body without bias, and a head.
"""

import numpy as np


def gradient(body, head, images, labels):
    """Of the mean cross-entropy: (with respect to W_B, to (W_P, b_P))."""
    kernel, bias = head
    flat = images.reshape(len(images), -1)
    features = flat @ body
    logits = features @ kernel + bias
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    errors = exponentials / exponentials.sum(axis=1, keepdims=True)
    errors[np.arange(len(labels)), labels] -= 1
    errors /= len(labels)
    of_head = [features.T @ errors, errors.sum(axis=0)]
    return flat.T @ (errors @ kernel.T), of_head


def fedper_client(body, head, images, labels, epochs, batch_size, rate):
    """Algorithm 1: FEDPER-CLIENT(j)."""
    body, head = body.copy(), [w.copy() for w in head]
    # (W_B,j, W_P,j) <- SGD_j(W_B, W_P,j, eta_j)
    for _ in range(epochs):
        for start in range(0, len(labels), batch_size):
            batch = slice(start, start + batch_size)
            of_body, of_head = gradient(
                body, head, images[batch], labels[batch]
            )
            body -= rate * of_body
            for w, g in zip(head, of_head, strict=True):
                w -= rate * g
    return body, head  # Send W_B,j to the server; keep W_P,j.


def fedper_server(body, heads, clients, cohorts, **local):
    """Algorithm 2, with a sample of the clients in each round.

    Args:
      body: W_B of round 0.
      heads: W_P,j of each client; changed.
      clients: (images, labels) of each.
      cohorts: Clients of each round; who has more examples counts more.
    """
    for cohort in cohorts:
        bodies, shares = [], []
        for j in cohort:
            trained, heads[j] = fedper_client(
                body, heads[j], *clients[j], **local
            )
            bodies.append(trained)
            shares.append(len(clients[j][1]))  # gamma_j = n_j / N
        # W_B <- sum_j gamma_j W_B,j
        body = np.tensordot(np.array(shares) / sum(shares), bodies, axes=1)
    return body, heads
