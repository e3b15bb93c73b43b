"""How training examples are dealt over clients.

A partitioner is a pure function `(labels, num_clients, seed, ...)` -> one index
array a client. Every example is assigned to exactly one client and every
client gets at least one example; what cannot be dealt like that raises
`UsageError`. Seeds are `numpy.random.SeedSequence`s or non-negative integers.
"""

import numpy as np

from tff_cnn.core.errors import UsageError
from tff_cnn.data import LARGEST_DIRICHLET_ALPHA, SMALLEST_DIRICHLET_ALPHA

Seed = int | np.random.SeedSequence


def iid(labels: np.ndarray, num_clients: int, seed: Seed) -> list[np.ndarray]:
    """Shuffles the examples and cuts them into `num_clients` parts.

    McMahan et al. 2017, section 3 ("IID"). Sizes differ by at most one.

    Args:
      labels: int, [num_examples]; needs num_examples >= num_clients.
      num_clients: >= 1.
      seed: Fixes the shuffle.
    """
    _check_num_clients(labels, num_clients)
    order = np.random.default_rng(seed).permutation(len(labels))
    return _sorted_parts(np.array_split(order, num_clients))


def shards(
    labels: np.ndarray,
    num_clients: int,
    seed: Seed,
    shards_per_client: int = 2,
) -> list[np.ndarray]:
    """Sorts by label, cuts into shards, deals `shards_per_client` to each.

    McMahan et al. 2017, section 3 ("pathological non-IID": 200 shards of 300
    MNIST images, 2 a client). A client holds at most about
    `shards_per_client + 1` classes as long as a shard is no larger than a
    class. Shard sizes differ by at most one.

    Args:
      labels: int, [num_examples]; needs
        num_examples >= num_clients * shards_per_client.
      num_clients: >= 1.
      seed: Fixes which shards a client gets, and the order inside a label.
      shards_per_client: >= 1.
    """
    _check_num_clients(labels, num_clients)
    if shards_per_client < 1:
        raise UsageError(
            f"<partition.shards_per_client>={shards_per_client} must be at "
            "least 1."
        )
    num_shards = num_clients * shards_per_client
    if num_shards > len(labels):
        raise UsageError(
            f"<partition.shards_per_client>={shards_per_client} for "
            f"{num_clients} clients needs {num_shards} shards, more than the "
            f"{len(labels)} training examples: use fewer shards or fewer "
            "clients."
        )
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    pieces = np.array_split(by_label, num_shards)
    deal = rng.permutation(num_shards).reshape(num_clients, shards_per_client)
    return _sorted_parts(
        np.concatenate([pieces[shard] for shard in hand]) for hand in deal
    )


def dirichlet(
    labels: np.ndarray,
    num_clients: int,
    seed: Seed,
    alpha: float = 0.5,
) -> list[np.ndarray]:
    """Draws each client's class mixture from Dir(alpha * p).

    Hsu et al. 2019, section 3: p is the class distribution of the data and
    all clients are of equal size (here to within one). `alpha` -> infinity is
    iid, `alpha` -> 0 is one class a client. Classes that run out are left out
    of the mixtures of later clients, so every example is assigned.

    Args:
      labels: int, [num_examples]; needs num_examples >= num_clients.
      num_clients: >= 1.
      seed: Fixes the mixtures and who gets which example.
      alpha: Concentration, in [1e-4, 1e9].
    """
    _check_num_clients(labels, num_clients)
    if not SMALLEST_DIRICHLET_ALPHA <= alpha <= LARGEST_DIRICHLET_ALPHA:
        raise UsageError(
            f"<partition.alpha>={alpha:g} must be positive: from "
            f"{SMALLEST_DIRICHLET_ALPHA:g} to {LARGEST_DIRICHLET_ALPHA:g}."
        )
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    pools = [rng.permutation(np.flatnonzero(labels == c)) for c in classes]
    prior = counts / counts.sum()
    remaining = counts.copy()
    parts = []
    for size in _equal_sizes(len(labels), num_clients):
        mixture = rng.dirichlet(alpha * prior)
        take = _draw_counts(rng, mixture, remaining, size)
        part = []
        for pool, left, count in zip(pools, remaining, take, strict=True):
            part.append(pool[left - count : left])
        remaining -= take
        parts.append(np.concatenate(part))
    return _sorted_parts(parts)


def _draw_counts(
    rng: np.random.Generator,
    mixture: np.ndarray,
    remaining: np.ndarray,
    size: int,
) -> np.ndarray:
    """How many of each class: `size` in all, at most `remaining`."""
    take = np.zeros_like(remaining)
    while take.sum() < size:
        left = remaining - take
        weights = np.where(left > 0, np.nan_to_num(mixture), 0.0)
        # A mixture whose classes are all used up (or, for a tiny alpha, one
        # that underflowed to zero) falls back on what is left.
        if weights.sum() <= 0:
            weights = left.astype(float)
        drawn = rng.multinomial(size - take.sum(), weights / weights.sum())
        take += np.minimum(drawn, left)
    return take


def _equal_sizes(num_examples: int, num_clients: int) -> np.ndarray:
    base, extra = divmod(num_examples, num_clients)
    return base + (np.arange(num_clients) < extra).astype(int)


def _check_num_clients(labels: np.ndarray, num_clients: int) -> None:
    if num_clients < 1:
        raise UsageError(f"<num_clients>={num_clients} must be at least 1.")
    if num_clients > len(labels):
        raise UsageError(
            f"<num_clients>={num_clients} is more than the {len(labels)} "
            "training examples: every client needs one, so use fewer clients."
        )


def _sorted_parts(parts) -> list[np.ndarray]:
    return [np.sort(part).astype(np.int64) for part in parts]
