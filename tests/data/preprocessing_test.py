import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tff_cnn.data import preprocessing
from tff_cnn.data.examples import Examples


def test_scale_maps_pixel_max_to_one():
    images = np.array([0, 8, 16], np.uint8)
    scaled = preprocessing.scale(tf.constant(images), 16)
    assert scaled.dtype == tf.float32
    np.testing.assert_array_equal(scaled, [0.0, 0.5, 1.0])


def client_data(num_examples, seed=(1, 2), **options):
    rng = np.random.default_rng(0)
    examples = Examples(
        rng.integers(1, 17, (num_examples, 8, 8, 1)).astype(np.uint8),
        np.arange(num_examples, dtype=np.int32),
    )
    batching = preprocessing.Batching(**{"epochs": 1, **options})
    return batching.client_data(examples, np.array(seed, np.int32))[0]


def test_a_client_is_one_element_of_the_declared_spec():
    spec = preprocessing.element_spec((8, 8, 1))
    data = client_data(10, epochs=2, batch_size=4)
    assert list(data) == list(spec)
    for name, value in data.items():
        assert spec[name].is_compatible_with(tf.constant(value)), name


@given(
    num_examples=st.integers(0, 40),
    epochs=st.integers(1, 3),
    batch_size=st.integers(1, 15),
    shuffle=st.booleans(),
)
def test_every_epoch_takes_every_example_once(
    num_examples, epochs, batch_size, shuffle
):
    data = client_data(
        num_examples, epochs=epochs, batch_size=batch_size, shuffle=shuffle
    )
    batches = data["batches"]
    # Steps that are real come first, and each has at least one example.
    is_real = (batches >= 0).any(axis=1)
    assert (is_real == (batches[:, 0] >= 0)).all()
    assert (np.diff(is_real.astype(int)) <= 0).all()
    steps = -(-num_examples // batch_size)
    assert is_real.sum() == epochs * steps
    for epoch in range(epochs):
        taken = batches[epoch * steps : (epoch + 1) * steps].ravel()
        taken = taken[taken >= 0]
        assert sorted(taken) == list(range(num_examples))
        if not shuffle:
            assert list(taken) == list(range(num_examples))


@pytest.mark.parametrize(
    ("num_examples", "rows", "shape"),
    [
        (0, 1, (2, 1)),
        (5, 6, (2, 6)),
        (10, 10, (2, 10)),
        (11, 20, (4, 10)),
        (45, 60, (12, 10)),
    ],
)
def test_sizes_are_padded_to_a_ladder(num_examples, rows, shape):
    data = client_data(num_examples, epochs=2, batch_size=10)
    assert len(data["images"]) == len(data["labels"]) == rows
    assert data["batches"].shape == shape
    assert not data["images"][num_examples:].any()
    assert (data["labels"][:num_examples] == np.arange(num_examples)).all()


def test_order_is_a_function_of_the_seed_and_differs_between_epochs():
    first, same, other = (
        client_data(50, seed, epochs=2, batch_size=10)["batches"]
        for seed in ((1, 2), (1, 2), (1, 3))
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    assert (first[:5] != first[5:10]).any()
