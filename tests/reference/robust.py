"""NumPy versions of robust rules, line by line after their papers.

Updates are the rows of an array: float64, [n, d].
"""

import numpy as np


def median(updates):
    """Yin et al. 2018, Definition 1."""
    return np.median(updates, axis=0)


def trimmed_mean(updates, trimmed):
    """Yin et al. 2018, Definition 2, with beta n = `trimmed`."""
    columns = []
    for values in updates.T:
        values = sorted(values)
        columns.append(np.mean(values[trimmed : len(values) - trimmed]))
    return np.array(columns)


def geometric_median(updates, alpha, smoothing, steps):
    """Pillutla et al. 2022, Algorithm 2, from v = 0."""
    v = np.zeros(updates.shape[1])
    for _ in range(steps):
        beta = [
            a / max(smoothing, np.linalg.norm(v - w))
            for a, w in zip(alpha, updates, strict=True)
        ]
        v = sum(b * w for b, w in zip(beta, updates, strict=True)) / sum(beta)
    return v


def distance_sum(updates, alpha, v):
    """What the geometric median minimizes."""
    return sum(
        a * np.linalg.norm(v - w) for a, w in zip(alpha, updates, strict=True)
    )


def krum_scores(updates, attackers):
    """Blanchard et al. 2017, section 4."""
    n = len(updates)
    scores = []
    for i in range(n):
        distances = sorted(
            np.sum((updates[i] - updates[j]) ** 2) for j in range(n) if j != i
        )
        scores.append(sum(distances[: max(n - attackers - 2, 1)]))
    return scores


def krum(updates, attackers):
    """Blanchard et al. 2017, section 4."""
    return updates[np.argmin(krum_scores(updates, attackers))]


def multi_krum(updates, attackers, selected):
    """Blanchard et al. 2017, section 5."""
    order = np.argsort(krum_scores(updates, attackers), kind="stable")
    return updates[order[:selected]].mean(axis=0)


def bulyan(updates, attackers):
    """El Mhamdi et al. 2018, section 4."""
    n = len(updates)
    theta = n - 2 * attackers
    beta = theta - 2 * attackers
    left = list(range(n))
    taken = []
    while len(taken) < theta:
        scores = krum_scores(updates[left], attackers)
        taken.append(left.pop(int(np.argmin(scores))))
    columns = []
    for values in updates[taken].T:
        middle = np.median(values)
        closest = sorted(values, key=lambda value: abs(value - middle))[:beta]
        columns.append(np.mean(closest))
    return np.array(columns)


def centered_clipping(updates, centre, radius, steps):
    """Karimireddy et al. 2021, Algorithm 2."""
    v = centre
    for _ in range(steps):
        ways = [
            (x - v) * min(1, radius / max(np.linalg.norm(x - v), 1e-300))
            for x in updates
        ]
        v = v + sum(ways) / len(updates)
    return v


def norm_bounded(update, bound):
    """Sun et al. 2019, section 4."""
    return update / max(1, np.linalg.norm(update) / bound)


def next_estimate(estimate, norms, quantile, learning_rate):
    """Andrew et al. 2021, section 2, the geometric update."""
    share = np.mean([norm <= estimate for norm in norms])
    return estimate * np.exp(-learning_rate * (share - quantile))
