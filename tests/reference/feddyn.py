"""NumPy FedDyn, line by line after Acar et al. 2021, Algorithm 1.

Its minimum is sought as the paper's experiments do: by gradient descent from
the server's model on, for some epochs.
"""

import numpy as np


def train(theta, batches, cohorts, gradient, rate, alpha):
    """Trains, and returns (theta, h, the gradient that each client keeps).

    Args:
      theta: [size], initial server model.
      batches: Those of each client's local steps; the same in all rounds.
      cohorts: Clients that take part, round by round; they may be none.
      gradient: (model, batch) -> [size], of the batch's mean loss.
      rate: Of local gradient descent.
      alpha: > 0.
    """
    m = len(batches)
    h = np.zeros_like(theta)  # h^0 = 0
    kept = [np.zeros_like(theta) for _ in range(m)]  # grad L_k(theta_k^0) = 0
    for cohort in cohorts:  # for t = 1, 2, ..., T do
        found = []
        for k in cohort:  # for each device k in P_t, in parallel do
            # theta_k = argmin L_k(w) - <kept, w> + alpha / 2 |w - theta|^2
            w = theta.copy()
            for batch in batches[k]:
                pull = -kept[k] + alpha * (w - theta)
                w = w - rate * (gradient(w, batch) + pull)
            # grad L_k(theta_k) = kept - alpha (theta_k - theta)
            kept[k] = kept[k] - alpha * (w - theta)
            found.append(w)
        if not cohort:
            continue
        # h = h - alpha 1/m sum over P_t of (theta_k - theta)
        h = h - alpha / m * sum(w - theta for w in found)
        # theta = (1 / |P_t| sum over P_t of theta_k) - 1 / alpha h
        theta = np.mean(found, axis=0) - h / alpha
    return theta, h, kept
