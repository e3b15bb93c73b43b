"""What is public is no client's, and unlabeled where that is promised."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_cnn.algorithms import FedDf, FedMd
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.data import SOURCES, Digits, Mnist, public_examples
from tff_cnn.data.examples import Examples, FromStorage, Source

SIZE = 20


def source(name="numbered", size=SIZE, classes=4, shape=(2, 2, 1)):
    """The image of example n is full of n."""
    numbers = np.arange(size)
    images = np.broadcast_to(
        numbers.reshape(-1, 1, 1, 1), (size, *shape)
    ).astype(np.uint8)
    labels = (numbers % classes).astype(np.int32)
    train = Examples(images, labels)
    columns = {"client_ids": (numbers // 5).astype(np.int32)}
    return Source(name, train, train.take([0]), classes, 255, columns)


def numbers(examples):
    return [int(image.flat[0]) for image in examples.images]


def split(options, of=None, seed=3):
    return public_examples.split(of or source(), options, Digits(), seed)


@given(st.integers(1, SIZE - 1), st.integers(0, 2**40))
def test_each_example_is_public_or_dealt(count, seed):
    left, public = split(FedMd(public_examples=count), seed=seed)
    assert len(public) == count
    everything = left.train.take(np.arange(len(left.train)))
    assert sorted(numbers(everything) + numbers(public)) == list(range(SIZE))
    # Labels and columns stay with their images.
    np.testing.assert_array_equal(
        everything.labels, np.mod(numbers(left.train), 4)
    )
    np.testing.assert_array_equal(public.labels, np.mod(numbers(public), 4))
    np.testing.assert_array_equal(
        left.columns["client_ids"], np.floor_divide(numbers(left.train), 5)
    )
    again = split(FedMd(public_examples=count), seed=seed)[1]
    np.testing.assert_array_equal(again.images, public.images)


def test_who_may_not_know_labels_has_none():
    _, public = split(FedDf())
    assert public.labels is None and len(public) == SIZE // 5
    _, labelled = split(FedMd())
    np.testing.assert_array_equal(labelled.images, public.images)
    assert len(labelled.labels) == SIZE // 5


def test_another_seed_draws_others():
    found = {tuple(numbers(split(FedDf(), seed=seed)[1])) for seed in range(5)}
    assert len(found) > 1


def test_what_is_read_from_storage_is_not_read_for_it():
    kept = source()
    read = []

    def take(indices):
        read.extend(indices)
        return kept.train.take(indices).images

    train = FromStorage(take, kept.train.labels, (2, 2, 1), np.uint8)
    left, public = split(FedDf(), dataclasses.replace(kept, train=train))
    assert numbers(public) == read
    assert isinstance(left.train, FromStorage)
    found = left.train.take(np.array([5, 0]))
    assert not set(numbers(found)) & set(numbers(public))
    np.testing.assert_array_equal(found.labels, np.mod(numbers(found), 4))


@pytest.fixture
def other(monkeypatch):
    """What `--public_dataset=mnist` finds."""

    def be(found):
        monkeypatch.setattr(SOURCES, "build", lambda options: found)

    return be


def test_another_data_set(other):
    of = source("other", 30)
    other(dataclasses.replace(of, pixel_max=7))
    left, public = split(FedDf(public_dataset="mnist"))
    assert numbers(public) == list(range(30)) and public.pixel_max == 7
    assert len(left.train) == SIZE
    _, some = split(FedDf(public_dataset="mnist", public_examples=4))
    assert len(some) == 4


def test_it_is_read_from_where_the_clients_data_is(monkeypatch):
    built = []
    monkeypatch.setattr(
        SOURCES, "build", lambda options: built.append(options) or source()
    )
    public_examples.split(
        source(),
        FedDf(public_dataset="emnist"),
        Mnist(data_dir="here", download=True),
        0,
    )
    (options,) = built
    assert (options.data_dir, options.download) == ("here", True)


@pytest.mark.parametrize(
    ("options", "found", "message"),
    [
        (FedDf(public_examples=SIZE), None, "=20 is more than the 19 that num"),
        (
            FedDf(public_dataset="mnist", public_examples=31),
            source("other", 30),
            "public_examples=31 is more than the 30 that other can give",
        ),
        (
            FedDf(public_dataset="mnist"),
            source("other", shape=(3, 2, 1)),
            "other has images of 3x2x1, but dataset=numbered of 2x2x1",
        ),
        (
            FedMd(public_dataset="mnist"),
            source("other", classes=5),
            "other has 5 classes, but dataset=numbered 4, and this algorithm",
        ),
        (
            FedDf(public_dataset="digits"),
            None,
            "public_dataset=digits is what the clients train on: leave it out",
        ),
    ],
)
def test_what_does_not_fit(other, options, found, message):
    other(found)
    with pytest.raises(UsageError, match=message):
        split(options)


def test_only_who_reads_labels_needs_the_same_classes(other):
    other(source("other", classes=5))
    assert len(split(FedDf(public_dataset="mnist"))[1]) == SIZE


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"public_dataset": "mnisst"}, "unknown .*did you mean 'mnist'"),
        ({"public_examples": 0}, "must be at least 1"),
    ],
)
def test_values_that_are_none(option, message):
    with pytest.raises(UsageError, match=message):
        RunConfig(algorithm=FedDf(**option))
