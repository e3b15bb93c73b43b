"""Keras CNN builders, and the one place where they become TFF models."""

import dataclasses
import os
import re
from collections.abc import Callable
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.registry import Registry, load


def _read(name: str) -> Any:
    """The model that a path or "module:function" names; None of others."""
    if "/" in name or name.endswith((".keras", ".h5", ".hdf5")):
        return SavedModel(name)
    if ":" not in name:
        return None
    try:
        found = load(name)
    except (ImportError, AttributeError, ValueError):
        return None  # The registry says why.
    if isinstance(found, type) and not hasattr(found, "get_weights"):
        return None  # A component, or a mistake.
    return KerasModel(found, name) if callable(found) else None


# A model's builder gets (image_shape, num_classes, seed) and its options, and
# returns a Keras model whose initial weights follow from the seed.
MODELS = Registry("model", _read)

# What is trained of a model, where it is not layers by name.
ALL, HEAD = "all", "head"


def check_trainable(which: str) -> None:
    """Raises `UsageError` unless it says which layers are trained.

    Args:
      which: See `trainable.freeze`.
    """
    check_pattern("trainable", which, f"{ALL}, {HEAD}")


def check_pattern(path: str, which: str, others: str) -> None:
    """Raises `UsageError` unless `which` is a regular expression.

    Args:
      path: Of the option, for the message.
      which: Its value.
      others: What else it may be, for the message.
    """
    try:
        re.compile(which)
    except re.error as error:
        raise UsageError(
            f"<{path}>={which} is no regular expression ({error}): give "
            f"{others}, or one that names of layers match."
        ) from error


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


@MODELS.entry("lenet5", "tff_cnn.models.cnn:lenet5")
@dataclasses.dataclass(frozen=True)
class LeNet5:
    """LeNet-5 (LeCun et al. 1998): 61,706 parameters on MNIST."""


@MODELS.entry("niid_cnn", "tff_cnn.models.cnn:niid_cnn")
@dataclasses.dataclass(frozen=True)
class NiidCnn:
    """NIID-Bench's (Li et al. 2022): 44,426 parameters on MNIST."""


@MODELS.entry("cifar_cnn", "tff_cnn.models.cnn:cifar_cnn")
@dataclasses.dataclass(frozen=True)
class CifarCnn:
    """TensorFlow's tutorial's: 122,570 parameters on CIFAR-10."""


@MODELS.entry("wong_kolter_cnn", "tff_cnn.models.cnn:wong_kolter_cnn")
@dataclasses.dataclass(frozen=True)
class WongKolterCnn:
    """Wong & Kolter's (2018), for robust training: 166,406 on MNIST."""


@MODELS.entry("vgg11_gn", "tff_cnn.models.vgg:vgg11_gn")
@dataclasses.dataclass(frozen=True)
class Vgg11:
    """VGG-11 with group normalization: 9.2 million parameters on CIFAR-10."""


@MODELS.entry("resnet18_gn", "tff_cnn.models.resnet:resnet18_gn")
@dataclasses.dataclass(frozen=True)
class ResNet18:
    """ResNet-18 with group normalization: 11.2 million on CIFAR-10."""


@MODELS.entry("resnet20_gn", "tff_cnn.models.resnet:resnet20_gn")
@dataclasses.dataclass(frozen=True)
class ResNet20:
    """ResNet of 20 layers (He et al. 2016): 269,722 parameters on CIFAR-10."""


@MODELS.entry("resnet32_gn", "tff_cnn.models.resnet:resnet32_gn")
@dataclasses.dataclass(frozen=True)
class ResNet32:
    """ResNet of 32 layers (He et al. 2016): 464,154 parameters on CIFAR-10."""


@MODELS.entry("resnet56_gn", "tff_cnn.models.resnet:resnet56_gn")
@dataclasses.dataclass(frozen=True)
class ResNet56:
    """ResNet of 56 layers (He et al. 2016): 853,018 parameters on CIFAR-10."""


@MODELS.entry("mobilenetv2_gn", "tff_cnn.models.mobilenet:mobilenetv2_gn")
@dataclasses.dataclass(frozen=True)
class MobileNetV2:
    """MobileNetV2 (Sandler et al. 2018): 2.2 million for 10 classes."""


@MODELS.entry("keras", "tff_cnn.models.keras_models:build", is_public=False)
@dataclasses.dataclass(frozen=True)
class KerasModel:
    """A model that a function builds: what `RunConfig(model=function)` means.

    Attributes:
      function: () -> tf.keras.Model, or with any of the parameters
        `image_shape`, `num_classes` and `seed`, which are given by name.
      given_as: "module:function", where it was named so.
      first: A `keras_models.FirstBuild`, once the data is known.

    Raises:
      UsageError: It is a model itself.
    """

    function: Callable[..., Any]
    given_as: str | None = None
    first: Any = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self):
        is_model = hasattr(self.function, "get_weights") and not isinstance(
            self.function, type
        )
        if is_model or not callable(self.function):
            raise UsageError(
                f"<model> is a {type(self.function).__name__}, but is built "
                "several times in a run: give a function that returns one."
            )

    @property
    def digest(self) -> str | None:
        """See `keras_models.FirstBuild`; None before the data is known."""
        return self.first and self.first.digest

    @property
    def needs_data(self) -> bool:
        """Whether the function asks for something of the data."""
        from tff_cnn.models import keras_models  # TensorFlow takes seconds.

        return keras_models.arguments(self.function) not in ((), ("seed",))

    def begun(
        self,
        image_shape: tuple[int, ...],
        num_classes: int,
        seed: int,
        trained: str = ALL,
    ) -> "KerasModel":
        """A copy that knows its first build; see `keras_models.first_build`."""
        from tff_cnn.models import keras_models

        first = keras_models.first_build(
            self.function, image_shape, num_classes, seed, trained
        )
        return dataclasses.replace(self, first=first)


@MODELS.entry("saved", "tff_cnn.models.saved:build", is_public=False)
@dataclasses.dataclass(frozen=True)
class SavedModel:
    """A model that Keras has saved, whose weights are those to begin with.

    Attributes:
      path: Of a .keras or .h5 file, or of a folder (`models.saved`).
      first: A `saved.Loaded`, once it was read.
    """

    path: str
    first: Any = dataclasses.field(default=None, repr=False, compare=False)

    needs_data = False

    def check(self, config: Any) -> None:
        """Raises `UsageError` where there is nothing to go on from."""
        if not os.path.exists(self.path):
            raise UsageError(
                f"<model>={self.path} is not there: give its right path."
            )

    @property
    def given_as(self) -> str:
        """What names it in files."""
        return self.path

    @property
    def digest(self) -> str | None:
        """See `saved.Loaded`; None before it was read."""
        return self.first and self.first.digest

    def begun(self, *unused: Any) -> "SavedModel":
        """A copy that knows what the path holds."""
        from tff_cnn.models import saved  # TensorFlow takes seconds.

        return dataclasses.replace(self, first=saved.load(self.path))


def adopted(given: Any) -> Any:
    """What is given as a model, with a `KerasModel` in place of a function."""
    return KerasModel(given) if callable(given) else given
