"""Who masks with whom, and who holds whose shares.

All with all (Bonawitz et al. 2017), or each with k others (Bell et al. 2020): a
circle in random order, on which each is joined to the k / 2 on either side. k
grows with the logarithm of n: against 5 % that are corrupt and 5 % that drop
out the paper has 3 % of 10,000 clients as neighbours.

What protects a client is that the others that are honest and stay remain
joined, and that fewer than t of its holders tell the server what they know.
"""

import math

import numpy as np

Graph = dict[int, tuple[int, ...]]  # Client -> its neighbours, ascending.


def complete(num_clients: int) -> Graph:
    """All with all.

    Args:
      num_clients: >= 1.
    """
    everybody = range(num_clients)
    return {u: tuple(v for v in everybody if v != u) for u in everybody}


def regular(
    num_clients: int, num_neighbours: int, rng: np.random.Generator
) -> Graph:
    """Each with so many others; all with all where there are no more.

    Args:
      num_clients: >= 1.
      num_neighbours: k, even and >= 2.
      rng: Of the order on the circle; no secret from the server, which draws
        it in the paper too.
    """
    if num_neighbours % 2 or num_neighbours < 2:
        raise ValueError(f"{num_neighbours} neighbours, half on either side.")
    if num_neighbours >= num_clients - 1:
        return complete(num_clients)
    circle = rng.permutation(num_clients)
    steps = range(1, num_neighbours // 2 + 1)
    found: dict[int, set[int]] = {u: set() for u in range(num_clients)}
    for place, u in enumerate(circle):
        for step in steps:
            v = circle[(place + step) % num_clients]
            found[int(u)].add(int(v))
            found[int(v)].add(int(u))
    return {u: tuple(sorted(others)) for u, others in found.items()}


def threshold(fraction: float, num_holders: int) -> int:
    """t: shares that restore a secret.

    Args:
      fraction: Of the holders, above 1/2 and at most 1. Above a half a server
        cannot have t of them tell one thing, and t others the opposite.
      num_holders: Of a client's shares: its neighbours and itself.
    """
    if not 0.5 < fraction <= 1:
        raise ValueError(f"a threshold of {fraction}: above 1/2, at most 1.")
    least = math.ceil(fraction * num_holders - 1e-9)
    return max(least, num_holders // 2 + 1)
