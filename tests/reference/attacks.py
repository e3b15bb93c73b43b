"""NumPy attacks, line by line after their papers; see each function."""

import math
import statistics

import numpy as np


def sign_flip(update, c):
    """Li et al. 2019: -c times what an attacker has found."""
    return -c * update


def label_flip(labels, num_classes, source=None, target=None):
    """Yin et al. 2018: y -> K - 1 - y; or Tolpegin et al. 2020: one class."""
    if source is None:
        return num_classes - 1 - labels
    return np.array([target if y == source else y for y in labels])


def z_max(n, m):
    """Baruch et al. 2019: n clients, m of them corrupted."""
    s = math.floor(n / 2 + 1) - m
    share = (n - m - s) / (n - m)
    return statistics.NormalDist().inv_cdf(share)


def alie(updates, z):
    """Baruch et al. 2019, of the corrupted clients' updates, [m, size]."""
    mu = np.mean(updates, axis=0)
    sigma = np.sqrt(np.mean((updates - mu) ** 2, axis=0))
    return mu - z * sigma


def ipm(updates, epsilon):
    """Xie et al. 2020, of the honest clients' updates, [n - m, size]."""
    total = np.zeros_like(updates[0])
    for v in updates:
        total = total + v
    return -epsilon / len(updates) * total


def model_replacement(local, model, n, eta):
    """Bagdasaryan et al. 2020: gamma (X - G) + G, gamma = n / eta."""
    gamma = n / eta
    return gamma * (local - model) + model


def federated_averaging(model, locals_, eta):
    """Bagdasaryan et al. 2020: G + eta / n sum_i (L_i - G)."""
    n = len(locals_)
    return model + eta / n * sum(local - model for local in locals_)


def stamped(image, side, white):
    """Gu et al. 2017: bright pixels in the lower right corner of one image."""
    found = image.copy()
    height, width = image.shape[:2]
    for row in range(height - side, height):
        for column in range(width - side, width):
            found[row, column] = white
    return found


def free_rider_stddev(sigma, gamma, t):
    """Fraboni et al. 2021, of round t."""
    return sigma * t ** (-gamma)
