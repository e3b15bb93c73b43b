"""Clients that were selected and do not come."""

from collections.abc import Sequence

import numpy as np

from tff_cnn.core import randomness


def remaining(
    rate: float, seed: int, round_num: int, cohort: Sequence[int]
) -> np.ndarray:
    """Those of a cohort that do not drop out.

    Each client drops out independently of the others, and of who else was
    selected.

    Args:
      rate: With which probability, in [0, 1); 0 leaves all.
      seed: Root seed of the run.
      round_num: From 1.
      cohort: Ids.

    Returns:
      Ids in the order of the cohort: int64.
    """
    cohort = np.asarray(cohort, np.int64)
    purpose = randomness.Purpose.DROPOUT
    draws = [
        randomness.generator(seed, purpose, round_num, int(client)).random()
        for client in cohort
    ]
    return cohort[np.array(draws) >= rate]
