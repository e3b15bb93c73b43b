"""How often an attack has its way: a rate beside the accuracy."""

import numpy as np

from tff_cnn.data.examples import FromStorage, Stored
from tff_cnn.evaluation.attacks.attack import Success


def shown(success: Success, examples: Stored) -> FromStorage:
    """What the attacker shows a model, labelled by what it is to say.

    The accuracy on it is the attack's rate of success. Images are changed when
    they are asked for.

    Args:
      success: Of the attack.
      examples: That are evaluated; one label an image.

    Returns:
      Those that count; there may be none.
    """
    targets = success.targets(examples.labels)
    kept = np.flatnonzero(targets >= 0)
    return FromStorage(
        lambda indices: success.changed(examples.take(kept[indices]).images),
        targets[kept],
        examples.image_shape,
        examples.dtype,
    )
