"""Samplers that look at the model: candidates first, then who takes part.

A round is planned before the one before it has ended, so without the weights
that candidates are to be judged by. So the plan has the data of all of them,
and the engine's step leaves out those that are not chosen.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tff_cnn.core.weights import Weights
from tff_cnn.training.engine import Work

# (trainable weights, work of the candidates) -> work of those who take part.
# Its `data` has an item for each client of its `cohort`.
Narrow = Callable[[Weights, Work], Work]

# That a candidate answers with: float32.
LOSS_BYTES = 4


def by_losses(
    losses: Callable[[Weights, Sequence[int]], np.ndarray],
    choose: Callable[[np.ndarray, np.ndarray], np.ndarray],
    weights: Weights,
    work: Work,
) -> Work:
    """A `Narrow`, once the first two are given.

    Args:
      losses: Of clients, on their own examples; NaN of who has none.
      choose: See `selection.samplers`: `narrowed`.
      weights: That the server sends.
      work: Of the candidates.
    """
    found = losses(weights, work.cohort)
    chosen = choose(np.asarray(work.cohort), found)
    data = dict(zip(map(int, work.cohort), work.data, strict=True))
    return Work(work.number, chosen, [data[int(client)] for client in chosen])
