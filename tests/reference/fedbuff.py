"""NumPy FedBuff, line by line after Nguyen et al. 2022, Algorithms 1 and 2.

An event queue of its own: at each moment the list of clients at work is looked
through for those that come back. The model is softmax regression.
"""

import numpy as np

from tests.reference.fedavg import client_update


def fedbuff_client(weights, images, labels, **local):
    """Algorithm 2: Delta_i, to be subtracted."""
    trained = client_update(weights, images, labels, **local)
    return [w - y for w, y in zip(weights, trained, strict=True)]


def fedbuff_server(
    weights,
    clients,
    begins,
    seconds,
    buffer_size,
    concurrency,
    steps,
    server_learning_rate,
    exponent,
    **local,
):
    """Algorithm 1: the weights after each of `steps` steps of the server.

    Args:
      weights: w_0.
      clients: (images, labels) of each.
      begins: Client ids in the order in which they begin.
      seconds: Client -> how long it is at work.
      exponent: a in s(tau) = 1 / (1 + tau)^a.
    """
    begins = iter(begins)
    at_work, buffer, found = [], [], []
    time, t = 0, 0
    while len(found) < steps:  # repeat
        # c <- clients, up to the concurrency; run FedBuff-client on c
        waiting = {client for client, *_ in buffer}
        while len(at_work) < concurrency and (
            len(at_work) + len(waiting) < len(clients)
        ):
            client = next(begins)
            at_work.append((client, time + seconds[client], weights, t))
        time = min(back for _, back, *_ in at_work)
        arriving = [event for event in at_work if event[1] == time]
        at_work = [event for event in at_work if event[1] != time]
        for client, _, begun_with, began in arriving:
            # receive Delta_i; k <- k + 1
            delta = fedbuff_client(begun_with, *clients[client], **local)
            buffer.append((client, delta, began))
            if len(buffer) < buffer_size:  # if k == K then
                continue
            mean = [np.zeros_like(w) for w in weights]
            for _, delta, began in buffer:
                scale = 1 / (1 + t - began) ** exponent
                for total, d in zip(mean, delta, strict=True):
                    total += scale * d / buffer_size
            weights = [  # w_{t+1} <- w_t - eta_g mean
                w - server_learning_rate * m
                for w, m in zip(weights, mean, strict=True)
            ]
            buffer, t = [], t + 1  # k <- 0, t <- t + 1
            found.append((time, weights))
    return found[:steps]
