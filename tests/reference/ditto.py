"""NumPy Ditto, line by line after Li et al. 2021, Algorithm 1.

The model is softmax regression, as that of `fedavg`.
"""

from tests.reference.fedavg import softmax_gradient


def ditto(w, v, clients, cohorts, lam, rate, epochs, batch_size):
    """Algorithm 1; clients count the same.

    Args:
      w: w^0.
      v: v_k^0 of each client.
      clients: (images, labels) of each.
      cohorts: S_t of each round.
      lam: lambda.
      rate: eta.
      epochs: Passes over a client's data in a round.
      batch_size: Examples in a step.

    Returns:
      (w^T, v^T).
    """
    v = list(v)
    for cohort in cohorts:  # for t = 0, ..., T - 1 do
        deltas = []
        for k in cohort:  # for device k in S_t in parallel do
            images, labels = clients[k]
            batches = [
                slice(start, start + batch_size)
                for _ in range(epochs)
                for start in range(0, len(labels), batch_size)
            ]
            w_k = w
            for b in batches:  # w_k^t <- UPDATE_GLOBAL(w^t, grad F_k)
                g = softmax_gradient(w_k, images[b], labels[b])
                w_k = [x - rate * d for x, d in zip(w_k, g, strict=True)]
            for b in batches:  # v_k <- v_k - eta (grad F_k + lam (v_k - w^t))
                g = softmax_gradient(v[k], images[b], labels[b])
                v[k] = [
                    x - rate * (d + lam * (x - x_t))
                    for x, d, x_t in zip(v[k], g, w, strict=True)
                ]
            deltas.append([a - b for a, b in zip(w_k, w, strict=True)])
        # w^{t+1} <- AGGREGATE(w^t, {Delta_k^t})
        w = [
            x + sum(d) / len(cohort)
            for x, d in zip(w, zip(*deltas, strict=True), strict=True)
        ]
    return w, v
