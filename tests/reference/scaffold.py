"""NumPy SCAFFOLD, line by line after Karimireddy et al. 2020, Algorithm 1."""

import numpy as np


def train(x, batches, cohorts, gradient, eta_l, eta_g, option):
    """Trains, and returns (x, c, every c_i).

    Args:
      x: [size], initial server model.
      batches: Those of each client's local steps, K of them; the same in all
        rounds, and equally often each of its examples.
      cohorts: Clients that take part, round by round; they may be none.
      gradient: (model, batch) -> [size], of the batch's mean loss.
      eta_l, eta_g: Learning rates of clients and server.
      option: "I" or "II".
    """
    num_clients = len(batches)  # N
    c = np.zeros_like(x)
    c_i = [np.zeros_like(x) for _ in range(num_clients)]
    for cohort in cohorts:  # for each round r = 1, ..., R do
        moves, changes = [], []
        for i in cohort:  # on client i in S in parallel do
            y = x.copy()  # initialize local model y_i <- x
            for batch in batches[i]:  # for k = 1, ..., K do
                # y_i <- y_i - eta_l (g_i(y_i) - c_i + c)
                y = y - eta_l * (gradient(y, batch) - c_i[i] + c)
            steps = len(batches[i])
            if steps == 0:  # Not in the paper: it has seen no gradient.
                new = c_i[i]
            elif option == "I":  # c_i^+ <- (i) g_i(x)
                sizes = [len(labels) for _, labels in batches[i]]
                found = [gradient(x, batch) for batch in batches[i]]
                new = np.average(found, axis=0, weights=sizes)
            else:  # or (ii) c_i - c + 1 / (K eta_l) (x - y_i)
                new = c_i[i] - c + (x - y) / (steps * eta_l)
            moves.append(y - x)  # communicate (y_i - x, c_i^+ - c_i)
            changes.append(new - c_i[i])
            c_i[i] = new  # c_i <- c_i^+
        if not cohort:
            continue
        # (Delta x, Delta c) <- 1 / |S| sum of both
        x = x + eta_g * np.mean(moves, axis=0)
        share = len(cohort) / num_clients
        c = c + share * np.mean(changes, axis=0)
    return x, c, c_i
