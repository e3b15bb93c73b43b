"""What an attack consists of."""

import collections
import dataclasses
from collections.abc import Callable, Container

import numpy as np

from tff_cnn.core.update_attacks import UpdateAttack

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
      rounds: In which it attacks; in others its clients are honest. None is
        all.
    """

    poison: Callable[[Element, np.ndarray], Element] | None = None
    update: UpdateAttack | None = None
    success: Success | None = None
    rounds: Container[int] | None = None

    def is_in(self, round_num: int) -> bool:
        """Whether it is made in a round."""
        return self.rounds is None or round_num in self.rounds


def real(element: Element) -> np.ndarray:
    """Positions of the examples that an element's steps take: int32, sorted."""
    batches = element["batches"]
    return np.unique(batches[batches >= 0])
