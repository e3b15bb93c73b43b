"""Attacks: what some of the clients do instead of what they should."""

from tff_cnn.core.registry import Registry

# An attack's builder gets its options and, of what follows, what it has
# parameters for; it returns an `attack.Attack`.
#   num_classes  of the data, one an image; who asks is refused where images
#                have several labels
#   image_shape  height, width, channels as stored
#   pixel_max    the pixel value that is white
#   server_rate  learning rate of the server
ATTACKS = Registry("attack")

from tff_cnn.evaluation.attacks.attack_entries import (  # noqa: E402 (Entries need registries.)
    Alie,
    Backdoor,
    FreeRider,
    GaussianUpdate,
    Ipm,
    LabelFlip,
    ScaledUpdate,
    SignFlip,
)

__all__ = [
    "ATTACKS",
    "Alie",
    "Backdoor",
    "FreeRider",
    "GaussianUpdate",
    "Ipm",
    "LabelFlip",
    "ScaledUpdate",
    "SignFlip",
]
