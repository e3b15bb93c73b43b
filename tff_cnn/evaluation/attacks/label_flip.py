"""Training on labels that are wrong.

Untargeted (Yin et al. 2018, "Byzantine-Robust Distributed Learning: Towards
Optimal Statistical Rates", experiments): of K classes y becomes K - 1 - y.
Targeted (Tolpegin et al. 2020, "Data Poisoning Attacks Against Federated
Learning Systems"): one class becomes another, and no other changes. What is
sent is what this training gives.

Success is the share of the evaluated examples whose label is one of those that
attackers flip and of which the model says what they want.

Costs nothing.
"""

import dataclasses

import numpy as np

from tff_cnn.core.errors import UsageError
from tff_cnn.evaluation.attacks.attack import Attack, Element, Success


@dataclasses.dataclass(frozen=True)
class Flipped:
    """Labels as an attacker gives them.

    Attributes:
      num_classes: K.
      source: The label that is flipped; None flips all.
      target: What it becomes; of no meaning where all are flipped.
    """

    num_classes: int
    source: int | None
    target: int | None

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """int32 -> int32, of the same shape."""
        if self.source is None:
            return (self.num_classes - 1 - labels).astype(np.int32)
        is_source = labels == self.source
        return np.where(is_source, self.target, labels).astype(np.int32)

    def poison(self, element: Element, seed: np.ndarray) -> Element:
        """An element with these labels; see `Attack`."""
        del seed
        return Element(element, labels=self(element["labels"]))

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """See `Success`: what is flipped, where that is another label."""
        flipped = self(labels)
        return np.where(flipped == labels, -1, flipped).astype(np.int32)


def build_label_flip(
    flip_from: int | None, flip_to: int | None, *, num_classes: int
) -> Attack:
    """Poisoned labels.

    Args:
      flip_from: A label; None is each of them.
      flip_to: Another; None beside None.
      num_classes: Of the data, one an image.

    Raises:
      UsageError: There is no such label.
    """
    for name, label in (("flip_from", flip_from), ("flip_to", flip_to)):
        if label is not None:
            check_label(f"attack.{name}", label, num_classes)
    flipped = Flipped(num_classes, flip_from, flip_to)
    success = Success(
        "label_flip_success", lambda images: images, flipped.targets
    )
    return Attack(poison=flipped.poison, success=success)


def check_label(path: str, label: int, num_classes: int) -> None:
    """Raises `UsageError` for a label that no example can have."""
    if label >= num_classes:
        raise UsageError(
            f"<{path}>={label} is no label of the data, which has "
            f"{num_classes} classes: use one from 0 to {num_classes - 1}."
        )
