"""NumPy MimeLite, line by line after Karimireddy et al. 2021, Algorithm 2.

The base optimizer B = (U, V) is SGD with momentum as TFF has it:

    V(g, s) = beta s + g        U(g, s) = V(g, s)
"""

import functools

import numpy as np

from tests.reference.fedavg import softmax_gradient


def client_update(x, s, images, labels, epochs, batch_size, eta, beta):
    """(y_i, grad f_i(x))."""
    y = [w.copy() for w in x]
    for _ in range(epochs):  # for k = 1, ..., K do
        for start in range(0, len(labels), batch_size):
            rows = slice(start, start + batch_size)
            g = softmax_gradient(y, images[rows], labels[rows])
            y = [  # y_i <- y_i - eta U(g, s)
                w - eta * (beta * m + a)
                for w, a, m in zip(y, g, s, strict=True)
            ]
    if not len(labels):
        return y, [np.zeros_like(w) for w in x]
    return y, softmax_gradient(x, images, labels)


def server_round(x, s, clients, shares, epochs, batch_size, eta, beta):
    """(x, s) after a round."""
    results = [
        client_update(x, s, *client, epochs, batch_size, eta, beta)
        for client in clients
    ]
    ys, gradients = zip(*results, strict=True)
    mean = functools.partial(np.average, axis=0, weights=shares)
    c = [mean(g) for g in zip(*gradients, strict=True)]
    s = [beta * m + g for m, g in zip(s, c, strict=True)]  # s <- V(c, s)
    x = [mean(y) for y in zip(*ys, strict=True)]
    return x, s
