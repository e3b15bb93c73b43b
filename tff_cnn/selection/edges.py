"""Which clients an edge server has: (clients' labels, seed) -> edges.

Liu et al. 2020 ("Client-Edge-Cloud Hierarchical Federated Learning"), section
IV: clients' data differs, and that of edges may ("edge-NIID") or not
("edge-IID").
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tff_cnn.core import randomness
from tff_cnn.core.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Edges:
    """Equally many clients an edge, or one more in some.

    Attributes:
      num_edges: >= 1.
      kind: "iid", clients dealt at random, or "niid", those side by side whose
        most frequent label is the same, so that edges differ.
    """

    num_edges: int
    kind: str

    def of_clients(self, labels: Sequence[np.ndarray], seed: int) -> np.ndarray:
        """The edge of each client: int64, [num_clients], in [0, num_edges).

        Args:
          labels: Of each client's examples: int32, [n], or of several labels
            an image [n, num_labels], 0 or 1.
          seed: Root seed of the run.

        Raises:
          UsageError: There are more edges than clients.
        """
        num_clients = len(labels)
        if self.num_edges > num_clients:
            raise UsageError(
                f"<algorithm.num_edges>={self.num_edges} is more than the "
                f"{num_clients} clients that there are: use fewer edges or "
                "more clients."
            )
        rng = randomness.generator(seed, randomness.Purpose.EDGES)
        order = rng.permutation(num_clients)
        if self.kind == "niid":
            found = np.array([most_frequent_label(own) for own in labels])
            order = order[np.argsort(found[order], kind="stable")]
        edges = np.empty(num_clients, np.int64)
        edges[order] = np.arange(num_clients) * self.num_edges // num_clients
        return edges


def most_frequent_label(labels: np.ndarray) -> int:
    """The smallest of those that are most frequent; -1 of no examples.

    Args:
      labels: See `Edges.of_clients`.
    """
    if not len(labels):
        return -1
    counts = labels.sum(0) if labels.ndim == 2 else np.bincount(labels)
    return int(np.argmax(counts))
