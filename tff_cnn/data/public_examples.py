"""Public examples: what the server may train on, and no client has.

They are another data set, or are taken out of the training data before that is
dealt: nobody's noise covers them.
"""

import dataclasses
from typing import Any

import numpy as np

from tff_cnn.core import randomness
from tff_cnn.core.errors import UsageError
from tff_cnn.data import SOURCES
from tff_cnn.data.examples import Examples, FromStorage, Source, Stored

# Of the training data, where nobody says how many.
_FRACTION = 0.2
# Options of where a data set is read from, which two have in common.
_SHARED = ("data_dir", "download")


@dataclasses.dataclass(frozen=True)
class PublicExamples:
    """Images in memory that are not secret.

    Attributes:
      images: As stored, [num_examples, height, width, channels].
      labels: int32, as of `Stored`; None where nobody is to know them.
      pixel_max: The pixel value that is scaled to 1.0.
    """

    images: np.ndarray
    labels: np.ndarray | None
    pixel_max: float

    def __len__(self) -> int:
        return len(self.images)


def split(
    source: Source, options: Any, dataset: Any, seed: int
) -> tuple[Source, PublicExamples]:
    """(what is left for the clients, what is public).

    Args:
      source: Of the clients.
      options: An `algorithms.PublicData`.
      dataset: Options of `source`; where it is read from, the other may be.
      seed: Of the run; it draws the examples.

    Raises:
      UsageError: There are fewer, or they do not fit the clients'.
    """
    count = options.public_examples
    if options.public_dataset is None:
        if count is None:
            count = max(1, round(_FRACTION * len(source.train)))
        # One is left to be trained on.
        _check_count(count, len(source.train) - 1, source.name)
        drawn = _drawn(len(source.train), count, seed)
        public = source.train.take(drawn)
        source = _without(source, drawn)
        pixel_max = source.pixel_max
    else:
        other = _other(options, dataset)
        _check_fits(other, source, options.public_labels)
        count = len(other.train) if count is None else count
        _check_count(count, len(other.train), other.name)
        public = other.train.take(_drawn(len(other.train), count, seed))
        pixel_max = other.pixel_max
    labels = public.labels if options.public_labels else None
    return source, PublicExamples(public.images, labels, pixel_max)


def _drawn(size: int, count: int, seed: int) -> np.ndarray:
    """Sorted indices of `count` out of `size`."""
    rng = randomness.generator(seed, randomness.Purpose.PUBLIC_EXAMPLES)
    return np.sort(rng.permutation(size)[:count])


def _check_count(count: int, most: int, name: str) -> None:
    if count > most:
        raise UsageError(
            f"<algorithm.public_examples>={count} is more than the {most} that "
            f"{name} can give: use fewer."
        )


def _without(source: Source, taken: np.ndarray) -> Source:
    """The source without some of its training examples."""
    kept = np.delete(np.arange(len(source.train)), taken)
    columns = {name: of[kept] for name, of in source.columns.items()}
    return dataclasses.replace(
        source, train=_part(source.train, kept), columns=columns
    )


def _part(stored: Stored, indices: np.ndarray) -> Stored:
    """Some of the examples, in memory only if all of them are."""
    if isinstance(stored, Examples):
        return stored.take(indices)
    return FromStorage(
        lambda positions: stored.take(indices[positions]).images,
        stored.labels[indices],
        tuple(stored.image_shape),
        stored.dtype,
    )


def _other(options: Any, dataset: Any) -> Source:
    """The data set that is named; it is read from where the clients' is."""
    path = "algorithm.public_dataset"
    other = SOURCES.options_of(options.public_dataset, path)
    names = {field.name for field in dataclasses.fields(other)}
    shared = {
        name: getattr(dataset, name)
        for name in _SHARED
        if name in names and hasattr(dataset, name)
    }
    other = dataclasses.replace(other, **shared)
    if other == dataset:
        raise UsageError(
            f"<{path}>={options.public_dataset} is what the clients train on: "
            "leave it out, and some of it are kept from them; or name another."
        )
    return SOURCES.build(other)


def _check_fits(other: Source, source: Source, with_labels: bool) -> None:
    shown = f"<algorithm.public_dataset>={other.name}"
    if other.image_shape != source.image_shape:
        found, needed = (
            "x".join(map(str, s.image_shape)) for s in (other, source)
        )
        raise UsageError(
            f"{shown} has images of {found}, but <dataset>={source.name} of "
            f"{needed}: use one of that size."
        )
    if not with_labels:
        return
    found, needed = (
        (s.num_classes, s.train.labels.shape[1:]) for s in (other, source)
    )
    if found != needed:
        raise UsageError(
            f"{shown} has {found[0]} classes, but <dataset>={source.name} "
            f"{needed[0]}, and this <algorithm> trains on the labels of both: "
            "use one with the same classes, or leave it out."
        )
