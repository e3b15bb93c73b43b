"""What an attack consists of."""

import collections
import dataclasses
from collections.abc import Callable

import numpy as np

from tff_cnn.algorithms.update_attacks import UpdateAttack

Element = collections.OrderedDict


@dataclasses.dataclass(frozen=True)
class Success:
    """How it is told whether an attack has had success.

    Attributes:
      name: Of the metric, as "backdoor_success".
      changed: Stored images -> what the attacker shows the model, alike.
      targets: Labels -> what the model is to say: int32 of the same shape; -1
        of examples that do not count.
    """

    name: str
    changed: Callable[[np.ndarray], np.ndarray]
    targets: Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Attack:
    """What attackers do; all may be missing.

    Attributes:
      poison: (element, seed) -> element: what an attacker trains on
        (`data.preprocessing`), of the same shapes; NumPy. The seed is int64,
        [2], of the client and round.
      update: What it sends.
      success: What the attack is for, where accuracy does not say.
    """

    poison: Callable[[Element, np.ndarray], Element] | None = None
    update: UpdateAttack | None = None
    success: Success | None = None
