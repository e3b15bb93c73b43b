"""Arrays that a program has in memory, checked and as a source."""

import hashlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import INT32, integers, positive
from tff_cnn.data.examples import Examples, Source

_PIXEL_MAX = 255
_NUM_CLASSES = integers(2, INT32)


def load(
    x: np.ndarray,
    y: np.ndarray,
    test: tuple[np.ndarray, np.ndarray] | None,
    num_classes: int,
    pixel_max: float,
) -> Source:
    """The source; its test split is empty where there is none.

    Args:
      x: uint8 or float32, [n, height, width, channels].
      y: int32, [n].
      test: (x, y) of the test split; None for an empty one.
      num_classes: Labels are below it.
      pixel_max: The pixel value that is scaled to 1.0.
    """
    if test is None:
        test = x[:0], y[:0]
    return Source(
        "arrays", Examples(x, y), Examples(*test), num_classes, pixel_max
    )


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `data.Arrays` as `load` wants them, of copies.

    Raises:
      UsageError: Naming the field.
    """
    x = _images(given["x"], "dataset.x")
    y = _labels(given["y"], "dataset.y", x, "dataset.x")
    num_classes = _num_classes(given["num_classes"], y)
    test = given["test"]
    if test is not None:
        test = _test(test, x, num_classes)
    pixel_max = given["pixel_max"]
    if pixel_max is None:
        pixel_max = _PIXEL_MAX if x.dtype == np.uint8 else 1
    elif not _is_number(pixel_max) or not positive().holds(pixel_max):
        raise UsageError(
            f"<dataset.pixel_max>={pixel_max!r} must be {positive().expected}."
        )
    if x.dtype == np.uint8 and given["pixel_max"] is None:
        _tell_of_dark_images(int(x.max()))
    for array in (x, y, *(test or ())):
        array.flags.writeable = False
    return {
        "x": x,
        "y": y,
        "test": test,
        "num_classes": num_classes,
        "pixel_max": pixel_max,
    }


def _tell_of_dark_images(largest: int) -> None:
    """Warns of images as scikit-learn's digits, where 16 is white."""
    if largest < _PIXEL_MAX / 2:
        print(
            f"note: pixels of dataset.x are at most {largest}, and are divided "
            f"by {_PIXEL_MAX}; say pixel_max={largest} if that is white.",
            file=sys.stderr,
        )


def digest(arrays: Any) -> str:
    """SHA-256 of checked `data.Arrays`."""
    found = hashlib.sha256(
        repr((arrays.num_classes, float(arrays.pixel_max))).encode()
    )
    for array in (arrays.x, arrays.y, *(arrays.test or ())):
        found.update(repr((array.dtype.name, array.shape)).encode())
        found.update(array)
    return found.hexdigest()


def _array(given: Any, path: str) -> np.ndarray:
    try:
        found = np.asarray(given)
    except (TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UsageError(
            f"<{path}> cannot be made an array ({reason}): give rows of one "
            "shape."
        ) from error
    if found.dtype == object:
        raise UsageError(
            f"<{path}> holds Python objects, as of rows that differ in shape: "
            "give an array of numbers."
        )
    return found


def _images(given: Any, path: str) -> np.ndarray:
    found = _array(given, path)
    if found.ndim == 3:
        found = found[..., np.newaxis]
    if found.ndim != 4:
        raise UsageError(
            f"<{path}> has the shape {found.shape}, but images are [n, height, "
            "width] or [n, height, width, channels]: reshape it."
        )
    if not found.size:
        raise UsageError(
            f"<{path}> has the shape {found.shape}: there is nothing in it."
        )
    if found.dtype.kind == "f":
        return _float_images(found, path)
    if found.dtype.kind not in "iu":
        raise UsageError(
            f"<{path}> holds {found.dtype}, but images are uint8 or float: "
            "convert it."
        )
    if found.min() < 0 or found.max() > _PIXEL_MAX:
        raise UsageError(
            f"<{path}> holds integers from {found.min()} to {found.max()}, but "
            f"integer pixels are 0 to {_PIXEL_MAX}: scale them to floats."
        )
    return np.array(found, np.uint8, order="C")


def _float_images(found: np.ndarray, path: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        found = np.array(found, np.float32, order="C")
    bad = len(found) - int(np.isfinite(found).all(axis=(1, 2, 3)).sum())
    if bad:
        raise UsageError(
            f"<{path}> has {bad} images with NaN, or numbers that float32 does "
            "not hold: remove them, or what made them so."
        )
    return found


def _labels(
    given: Any, path: str, images: np.ndarray, images_path: str
) -> np.ndarray:
    found = _array(given, path)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise UsageError(
            f"<{path}> has the shape {found.shape}, but labels are class "
            "numbers, [n]: of scores or one-hot rows give argmax(axis=1)."
        )
    if found.dtype.kind not in "iu":
        raise UsageError(
            f"<{path}> holds {found.dtype}, but labels are integers: give "
            "class numbers, as np.unique(labels, return_inverse=True)[1]."
        )
    if len(found) != len(images):
        raise UsageError(
            f"<{path}> has {len(found)} labels, but <{images_path}> "
            f"{len(images)} images: give one for each."
        )
    if found.min() < 0 or found.max() >= INT32:
        raise UsageError(
            f"<{path}> has labels from {found.min()} to {found.max()}, but "
            "classes are numbered from 0: renumber them, as "
            "np.unique(labels, return_inverse=True)[1] does."
        )
    return np.array(found, np.int32)


def _num_classes(given: Any, y: np.ndarray) -> int:
    """Raises unless all labels are below it, and, found here, all are there."""
    if given is None:
        missing = np.setdiff1d(np.arange(min(y.max() + 1, len(y) + 1)), y)
        if len(missing):
            raise UsageError(
                f"<dataset.y> has labels up to {y.max()}, but none is "
                f"{missing[0]}: renumber them, as np.unique(labels, "
                "return_inverse=True)[1] does, or say num_classes."
            )
        given = int(y.max()) + 1
    if not _is_number(given) or int(given) != given:
        raise UsageError(f"<dataset.num_classes>={given!r} must be an integer.")
    if not _NUM_CLASSES.holds(given):
        raise UsageError(
            f"<dataset.num_classes>={given} must be {_NUM_CLASSES.expected}."
        )
    if y.max() >= given:
        raise UsageError(
            f"<dataset.y> has the label {y.max()}, but <dataset.num_classes>="
            f"{given}: classes are numbered from 0."
        )
    return int(given)


def _test(
    given: Any, x: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    path = "dataset.test"
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise UsageError(
            f"<{path}> must be a pair (images, labels), not "
            f"{type(given).__name__}."
        )
    images = _images(given[0], path)
    labels = _labels(given[1], path, images, path)
    if images.shape[1:] != x.shape[1:]:
        raise UsageError(
            f"<{path}> has images of {images.shape[1:]}, but <dataset.x> of "
            f"{x.shape[1:]}: give images of one shape."
        )
    if images.dtype != x.dtype:
        raise UsageError(
            f"<{path}> has images of {images.dtype}, but <dataset.x> of "
            f"{x.dtype}: give both alike, as only integers are scaled."
        )
    if labels.max() >= num_classes:
        raise UsageError(
            f"<{path}> has the label {labels.max()}, but <dataset.y> only "
            f"{num_classes} classes: say num_classes if no client has it."
        )
    return images, labels


def _is_number(value: Any) -> bool:
    return (
        np.isscalar(value)
        and isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
    )
