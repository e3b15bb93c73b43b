"""NumPy HierFAVG, line by line after Liu et al. 2020, Algorithm 1.

Beside the paper: of each edge's clients those of the cohort take part, the same
from one cloud aggregation to the next.
"""

import numpy as np

from tests.reference.fedavg import softmax_gradient


def mean(models, shares):
    """sum_i |D_i| w_i / |D|: EdgeAggregation and CloudAggregation."""
    return [
        sum(n * w for n, w in zip(shares, found, strict=True)) / sum(shares)
        for found in zip(*models, strict=True)
    ]


def hier_favg(
    weights, edges, sizes, batch_of, kappa1, kappa2, num_steps, rate, cohort_of
):
    """procedure HierarchicalFAVG.

    Args:
      weights: w_0.
      edges: C^l of each edge: client ids.
      sizes: |D_i| of each client.
      batch_of: (client, k) -> (images, labels) of local step k, from 1.
      kappa1: Local steps between two edge aggregations.
      kappa2: Edge aggregations between two cloud aggregations.
      num_steps: K.
      rate: eta.
      cohort_of: Number of a cloud round, from 1 -> clients that take part.

    Returns:
      w(K); K is a multiple of kappa1 kappa2.
    """
    w = [np.float64(leaf) for leaf in weights]
    local = {}  # w_i
    for k in range(1, num_steps + 1):  # for k = 1, 2, ... K do
        if (k - 1) % (kappa1 * kappa2) == 0:
            cohort = set(cohort_of((k - 1) // (kappa1 * kappa2) + 1))
            local = {i: w for i in cohort}
        for i in cohort:  # for each client in parallel do
            gradient = softmax_gradient(local[i], *batch_of(i, k))
            local[i] = [
                a - rate * g for a, g in zip(local[i], gradient, strict=True)
            ]
        if k % kappa1 == 0:  # if k | kappa1 = 0 then
            at_edges, shares = [], []
            for members in edges:  # for each edge in parallel do
                taking_part = [i for i in members if i in cohort]
                if not taking_part:
                    continue
                at_edge = mean(
                    [local[i] for i in taking_part],
                    [sizes[i] for i in taking_part],
                )
                at_edges.append(at_edge)
                shares.append(sum(sizes[i] for i in taking_part))
                for i in taking_part:  # if k | kappa1 kappa2 != 0
                    local[i] = at_edge
            if k % (kappa1 * kappa2) == 0:
                w = mean(at_edges, shares)
    return w
