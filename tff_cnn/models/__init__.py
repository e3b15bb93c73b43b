"""Keras CNN builders, and the one place where they become TFF models."""

from tff_cnn.core.registry import Registry

MODELS = Registry(
    "model",
    {
        "digits_cnn": "tff_cnn.models.cnn:digits_cnn",
        "mcmahan_cnn": "tff_cnn.models.cnn:mcmahan_cnn",
        "emnist_cnn": "tff_cnn.models.cnn:emnist_cnn",
        "tanh_cnn": "tff_cnn.models.cnn:tanh_cnn",
    },
)
