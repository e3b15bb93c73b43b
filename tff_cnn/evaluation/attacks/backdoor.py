"""A trigger that makes the model say what the attacker wants.

Gu et al. 2017, "BadNets: Identifying Vulnerabilities in the Machine Learning
Model Supply Chain" (bright pixels in a corner), and Bagdasaryan et al. 2020,
"How To Backdoor Federated Learning" (model replacement). In a round in which it
attacks, an attacker

    1. stamps the trigger on a share of its images, and labels these t
    2. trains as all do on these and its other images, to X
    3. sends gamma (X - G), G the model that it was sent; gamma = n / eta makes
       X of the server's model, where the honest updates cancel

    symbol  name
    t       target
    n       clients of the round, as they weigh: 1 / known.share
    eta     server_rate
    gamma   boost; None is 1 / (known.share server_rate)

The paper's n is all clients, of whose models the server adds eta / n; here it
adds server_rate times the mean of the round's, so that n is these.

Several attackers of one round share gamma between them, so that the model
becomes the mean of theirs; the paper's has one. (A server that has momentum
goes on in later rounds.) In rounds in which it does not attack an attacker is
honest: one round is the paper's single-shot attack, all are its repeated one.

Success is the share of the evaluated examples, without those of class t, of
which the model says t once the trigger is on them.

Costs a copy of an attacker's images, and a multiplication a number.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tff_cnn.core.errors import UsageError
from tff_cnn.evaluation.attacks.attack import Attack, Element, Success, real
from tff_cnn.evaluation.attacks.label_flip import check_label
from tff_cnn.evaluation.attacks.some_rounds import SomeRounds


@dataclasses.dataclass(frozen=True)
class Backdoor:
    """A trigger, and the class that stands for it.

    Attributes:
      target: t.
      size: Side of the square in the lower right corner, pixels.
      white: The pixel value of the trigger, in all channels.
      share: Of an attacker's images that are stamped, in [0, 1]; rounded, one
        at least unless it is 0.
    """

    target: int
    size: int
    white: float
    share: float

    def stamped(self, images: np.ndarray) -> np.ndarray:
        """A copy with the trigger: [n, height, width, channels], as stored."""
        found = images.copy()
        found[:, -self.size :, -self.size :, :] = self.white
        return found

    def poison(self, element: Element, seed: np.ndarray) -> Element:
        """Step 1; see `Attack`."""
        positions = real(element)
        count = round(self.share * len(positions))
        if self.share:
            count = min(max(count, 1), len(positions))
        rng = np.random.default_rng(seed.view(np.uint64))
        chosen = rng.choice(positions, count, replace=False)
        images, labels = element["images"].copy(), element["labels"].copy()
        images[chosen] = self.stamped(images[chosen])
        labels[chosen] = self.target
        return Element(element, images=images, labels=labels)

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """See `Success`."""
        wanted = np.full_like(labels, self.target)
        return np.where(labels == self.target, -1, wanted).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Replacement:
    """An attacker sends so much of its update that the model is replaced.

    Attributes:
      boost: gamma > 0; None follows from the round.
      server_rate: eta > 0.
    """

    boost: float | None
    server_rate: float
    sees_honest = False

    def observed(self, update):
        """Nothing: what it weighs is known anyway."""
        return ()

    def sent(self, update: Any, known, attacker):
        """Step 3."""
        boost = self.boost
        if boost is None:
            boost = tf.math.divide_no_nan(1.0, known.share * self.server_rate)
        return tf.nest.map_structure(lambda u: boost * u, update)


def build_backdoor(
    backdoor_target: int,
    backdoor_size: int,
    backdoor_share: float,
    backdoor_boost: float | None,
    backdoor_rounds: str | None,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    pixel_max: float,
    server_rate: float,
) -> Attack:
    """The trigger, and model replacement.

    Args:
      backdoor_target: t, a label.
      backdoor_size: See `Backdoor`.
      backdoor_share: See `Backdoor`.
      backdoor_boost: gamma; None is n / eta.
      backdoor_rounds: See `some_rounds`; None is all.
      num_classes: Of the data, one an image.
      image_shape: As stored.
      pixel_max: The pixel value that is white.
      server_rate: eta.

    Raises:
      UsageError: There is no such label, or no room for the trigger.
    """
    check_label("attack.backdoor_target", backdoor_target, num_classes)
    if backdoor_size >= min(image_shape[:2]):
        height, width, _ = image_shape
        raise UsageError(
            f"<attack.backdoor_size>={backdoor_size} leaves nothing of images "
            f"of {height}x{width}: use a smaller trigger."
        )
    trigger = Backdoor(
        backdoor_target, backdoor_size, pixel_max, backdoor_share
    )
    return Attack(
        trigger.poison,
        Replacement(backdoor_boost, server_rate),
        Success("backdoor_success", trigger.stamped, trigger.targets),
        backdoor_rounds and SomeRounds.parse(backdoor_rounds),
    )
