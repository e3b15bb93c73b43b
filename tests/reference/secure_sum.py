"""What a secure sum is: the sum modulo R, over those whose vectors came.

And the mean that is made of one (`tff_cnn.aggregators.secure_sum`), in NumPy.
"""

import numpy as np


def modular_sum(vectors, modulus):
    """Sum of integers in [0, modulus), with Python's integers."""
    columns = np.stack([np.asarray(v).astype(object) for v in vectors])
    return columns.sum(axis=0) % modulus


def summed_clients(num_clients, dropped, threshold):
    """Whose vectors are in the sum where all share with all; None if aborted.

    Args:
      num_clients: n.
      dropped: Client -> the first phase, 0 to 3, that it is not there for.
      threshold: t.
    """
    for phase in range(4):
        left = [u for u in range(num_clients) if dropped.get(u, 4) > phase]
        if len(left) < max(threshold, 1):
            return None
        if phase == 2:
            summed = left
    return summed


def weighted_mean(values, weights, bound, bits, max_weight):
    """Of float vectors, as their integers have it."""
    levels = 2 ** (bits - 1) - 1
    total, count = 0.0, 0.0
    for value, weight in zip(values, weights, strict=True):
        weight = min(max(float(weight), 0.0), max_weight)
        scaled = np.clip(np.float64(value) / bound, -1, 1)
        total = total + np.round(scaled * weight * levels)
        count += np.round(weight * levels)
    return bound * total / count if count else 0 * np.float64(values[0])
