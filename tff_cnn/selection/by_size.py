"""Samplers that draw clients by how many examples they have.

With `n_k` examples of `n` at client k, the model's objective weighs its loss by
n_k / n. Where a cohort of m has client k with probability m n_k / n, the plain
mean of updates has the expectation of that weighted sum (Horvitz & Thompson
1952): so `client_weighting` is uniform, and weights by examples would count
sizes twice.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tff_cnn.core.errors import UsageError
from tff_cnn.selection.samplers import Sampler


@dataclasses.dataclass(frozen=True)
class BySize(Sampler):
    """Client k is in a cohort with probability m n_k / n, and never twice.

    Systematic sampling in a random order (Madow 1949): clients lie side by
    side, each as long as it has examples, and a comb of m teeth that are n / m
    apart is put on them. One longer than that would have to be there twice, and
    is refused: no plain mean without replacement is unbiased then.

    Attributes:
      client_sizes: n_k, examples of each client, >= 0.
    """

    client_sizes: Sequence[int]

    def __post_init__(self):
        super().__post_init__()
        sizes = np.asarray(self.client_sizes, np.int64)
        largest = int(np.argmax(sizes))
        if sizes[largest] * self.clients_per_round > sizes.sum():
            raise UsageError(
                f"<sampling>=by_size with <clients_per_round>="
                f"{self.clients_per_round} would have to draw client {largest} "
                f"more than once a round, for it has {sizes[largest]:,} of "
                f"{sizes.sum():,} examples: use fewer clients a round or "
                "another <sampling>."
            )

    @property
    def rate(self) -> None:
        return None

    def sample(self, round_num: int, seed: int) -> np.ndarray:
        rng = self._generator(round_num, seed)
        order = rng.permutation(self.num_clients)
        sizes = np.asarray(self.client_sizes, np.int64)
        # In units of 1 / m of an example, so that all of it is exact.
        ends = np.cumsum(sizes[order]) * self.clients_per_round
        teeth = np.arange(self.clients_per_round) * sizes.sum()
        teeth += rng.integers(sizes.sum())
        return np.sort(order[np.searchsorted(ends, teeth, side="right")])


@dataclasses.dataclass(frozen=True)
class PowerOfChoice(Sampler):
    """Cho, Wang & Joshi 2022, "Towards Understanding Biased Client Selection".

    Algorithm pi_pow-d:

        1. `sample`: d candidates, drawn one after the other without
           replacement, with probabilities proportional to their examples
        2. the server sends them the model, and each answers with its loss
        3. `narrowed`: the m with the largest loss take part

    and the server takes their plain mean (their equation 2). The larger d, the
    faster and the less fair; d = m is drawing by size.

    Attributes:
      client_sizes: Examples of each client, >= 0.
      candidates: d, in [clients_per_round, num_clients]; None becomes twice
        `clients_per_round`, or all. There are fewer where fewer have examples.
    """

    client_sizes: Sequence[int]
    candidates: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.candidates is None:
            most = min(2 * self.clients_per_round, self.num_clients)
            object.__setattr__(self, "candidates", most)
        if not self.clients_per_round <= self.candidates <= self.num_clients:
            raise UsageError(
                f"<sampling.candidates>={self.candidates} must be between "
                f"<clients_per_round>={self.clients_per_round} and the number "
                f"of clients, {self.num_clients}."
            )

    @property
    def rate(self) -> None:
        return None

    @property
    def expected_cohort(self) -> float:
        return float(min(self.clients_per_round, self._num_candidates))

    @property
    def expected_candidates(self) -> float:
        return float(self._num_candidates)

    @property
    def _num_candidates(self) -> int:
        return min(self.candidates, np.count_nonzero(self.client_sizes))

    def sample(self, round_num: int, seed: int) -> np.ndarray:
        sizes = np.asarray(self.client_sizes, np.int64)
        drawn = self._generator(round_num, seed).choice(
            self.num_clients,
            self._num_candidates,
            replace=False,
            p=sizes / sizes.sum(),
        )
        return np.sort(drawn)

    def narrowed(
        self, candidates: np.ndarray, losses: np.ndarray
    ) -> np.ndarray:
        """Ids of the `clients_per_round` candidates of largest loss, sorted.

        Args:
          candidates: Ids, sorted; there may be fewer.
          losses: float, of each; NaN, of who has none, counts as the smallest.
            Of equal ones the first are taken.
        """
        losses = np.where(np.isnan(losses), -np.inf, losses)
        order = np.argsort(-losses, kind="stable")
        return np.sort(candidates[order[: self.clients_per_round]])
