"""NumPy FedADMM, line by line after Gong et al. 2022, Algorithm 1."""

import numpy as np


def train(theta, batches, cohorts, gradient, rate, rho, eta, start):
    """Trains, and returns (theta, every w_k, every y_k).

    Args:
      theta: [size], initial server model.
      batches: Those of each client's local steps; the same in all rounds.
      cohorts: Clients that take part, round by round; they may be none.
      gradient: (model, batch) -> [size], of the batch's mean loss.
      rate: Of local gradient descent.
      rho: > 0.
      eta: The server's.
      start: "own": clients begin with the model of their last round;
        "global": with theta, which takes that model's place.
    """
    w = [theta.copy() for _ in batches]  # w_k^0 = theta^0
    y = [np.zeros_like(theta) for _ in batches]  # y_k^0 = 0
    for cohort in cohorts:
        changes = []
        for k in cohort:
            if start == "global":
                w[k] = theta.copy()
            augmented = w[k] + y[k] / rho
            for batch in batches[k]:
                # w_k <- w_k - rate (grad F_k(w_k) + y_k + rho (w_k - theta))
                pull = y[k] + rho * (w[k] - theta)
                w[k] = w[k] - rate * (gradient(w[k], batch) + pull)
            y[k] = y[k] + rho * (w[k] - theta)
            changes.append(w[k] + y[k] / rho - augmented)
        if not cohort:
            continue
        theta = theta + eta * np.mean(changes, axis=0)
    return theta, w, y
