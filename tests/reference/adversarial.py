"""NumPy adversarial training after Zizzo et al. 2020 and Madry et al. 2018.

The model is softmax regression, as that of `fedavg`.
"""

import numpy as np

from tests.reference.fedavg import softmax_gradient


def image_gradient(weights, images, labels):
    """Of each image's cross-entropy, in the image."""
    kernel, bias = weights
    logits = images.reshape(len(images), -1) @ kernel + bias
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    errors = exponentials / exponentials.sum(axis=1, keepdims=True)
    errors[np.arange(len(labels)), labels] -= 1
    return (errors @ kernel.T).reshape(images.shape)


def pgd(weights, images, labels, epsilon, num_steps, step_size):
    """Madry et al. 2018, section 2.1, from the images themselves."""
    found = images
    for _ in range(num_steps):  # x^{t+1} = P_{x+S}(x^t + alpha sgn(grad))
        found = found + step_size * np.sign(
            image_gradient(weights, found, labels)
        )
        found = np.clip(found, images - epsilon, images + epsilon)
        found = np.clip(found, 0, 1)
    return found


def adversarial_training(
    weights, clients, cohorts, fraction, attack, rate, epochs, batch_size
):
    """FedAvg, clients counting the same, on batches that are attacked.

    Args:
      weights: Of round 0.
      clients: (images, labels) of each.
      cohorts: Of each round.
      fraction: Of each batch; rounded, and at least one example.
      attack: (weights, images, labels) -> images.
      rate: Of the clients.
      epochs: Passes over a client's data in a round.
      batch_size: Examples in a step.
    """
    for cohort in cohorts:
        trained = []
        for k in cohort:
            images, labels = clients[k]
            w = weights
            for _ in range(epochs):
                for start in range(0, len(labels), batch_size):
                    x = images[start : start + batch_size].copy()
                    y = labels[start : start + batch_size]
                    count = max(1, round(fraction * len(y)))
                    x[:count] = attack(w, x[:count], y[:count])
                    g = softmax_gradient(w, x, y)
                    w = [a - rate * d for a, d in zip(w, g, strict=True)]
            trained.append(w)
        weights = [np.mean(ws, axis=0) for ws in zip(*trained, strict=True)]
    return weights
