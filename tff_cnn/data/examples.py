"""Labelled images in memory, and the clients that hold them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

IMAGE_DTYPES = (np.uint8, np.float32)


@dataclasses.dataclass(frozen=True)
class Examples:
    """Labelled images.

    Attributes:
      images: uint8 or float32, [num_examples, height, width, channels], as
        stored.
      labels: int32, [num_examples], in [0, num_classes).
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        if self.images.dtype not in IMAGE_DTYPES or self.images.ndim != 4:
            raise ValueError(
                "images must be uint8 or float32 of shape [n, height, width, "
                f"channels], found {self.images.dtype} of shape "
                f"{self.images.shape}."
            )
        if self.labels.dtype != np.int32:
            raise ValueError(f"labels must be int32, not {self.labels.dtype}.")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"{len(self.images)} images but labels {self.labels.shape}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Examples":
        """The examples at `indices`, in that order."""
        return Examples(self.images[indices], self.labels[indices])


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set with a test split that no client ever sees.

    Attributes:
      name: As in `data.SOURCES`.
      train: What is dealt over the clients.
      test: Held out; of the same kind.
      num_classes: Labels are in [0, num_classes).
      pixel_max: The pixel value that is scaled to 1.0 (16 for digits); 1 takes
        images as they are.
    """

    name: str
    train: Examples
    test: Examples
    num_classes: int
    pixel_max: float

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return tuple(self.train.images.shape[1:])


class ClientExamples(Sequence):
    """`Examples` of each client, cut from one array when they are asked for."""

    def __init__(
        self, examples: Examples, client_indices: Sequence[np.ndarray]
    ):
        self._examples = examples
        self._client_indices = tuple(client_indices)

    def __len__(self) -> int:
        return len(self._client_indices)

    def __getitem__(self, client: int) -> Examples:
        return self._examples.take(self._client_indices[client])

    def num_examples(self, client: int) -> int:
        return len(self._client_indices[client])

    def pooled(self, clients: Sequence[int]) -> Examples:
        """The examples of several clients as one."""
        indices = [self._client_indices[client] for client in clients]
        return self._examples.take(np.concatenate(indices))

    def with_empty(self, count: int) -> "ClientExamples":
        """These clients, and after them `count` clients without examples."""
        empty = [np.zeros(0, np.int64)] * count
        return ClientExamples(self._examples, [*self._client_indices, *empty])

    def subset(self, clients: Sequence[int]) -> "ClientExamples":
        """The given clients only, renumbered from zero."""
        return ClientExamples(
            self._examples, [self._client_indices[c] for c in clients]
        )
