"""Keras CNN builders, and the one place where they become TFF models."""

import dataclasses

from tff_cnn.core.registry import Registry

# A model's builder gets (image_shape, num_classes, seed) and its options, and
# returns a Keras model whose initial weights follow from the seed.
MODELS = Registry("model")


@MODELS.entry("digits_cnn", "tff_cnn.models.cnn:digits_cnn")
@dataclasses.dataclass(frozen=True)
class DigitsCnn:
    """One convolution: 5,450 parameters on 8x8 images."""


@MODELS.entry("mcmahan_cnn", "tff_cnn.models.cnn:mcmahan_cnn")
@dataclasses.dataclass(frozen=True)
class McmahanCnn:
    """Two convolutions of 5x5 (McMahan et al. 2017): 1.66 million on MNIST."""


@MODELS.entry("emnist_cnn", "tff_cnn.models.cnn:emnist_cnn")
@dataclasses.dataclass(frozen=True)
class EmnistCnn:
    """Two convolutions with dropout (Reddi et al. 2021)."""


@MODELS.entry("tanh_cnn", "tff_cnn.models.cnn:tanh_cnn")
@dataclasses.dataclass(frozen=True)
class TanhCnn:
    """Two convolutions with tanh, made for DP-SGD (Papernot et al. 2021)."""
