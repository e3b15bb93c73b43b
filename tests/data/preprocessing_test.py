import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.data import preprocessing
from tff_cnn.data.examples import Examples


def test_scale_maps_pixel_max_to_one():
    images = np.array([0, 8, 16], np.uint8)
    scaled = preprocessing.scale(tf.constant(images), 16)
    assert scaled.dtype == tf.float32
    np.testing.assert_array_equal(scaled, [0.0, 0.5, 1.0])


def test_images_stay_as_they_are_stored():
    images = np.array([-1.5, 0.25, 3], np.float32)
    scaled = preprocessing.scale(tf.constant(images), 1)
    np.testing.assert_array_equal(scaled, images)
    examples = Examples(
        np.ones((3, 2, 2, 1), np.float32), np.zeros(3, np.int32)
    )
    (element,) = preprocessing.Batching(1, 2).client_data(
        examples, np.zeros(2, np.int64)
    )
    spec = preprocessing.element_spec((2, 2, 1), np.float32)
    assert element["images"].dtype == np.float32
    assert spec["images"] == tf.TensorSpec([None, 2, 2, 1], tf.float32)


def client_data(num_examples, seed=(1, 2), **options):
    rng = np.random.default_rng(0)
    examples = Examples(
        rng.integers(1, 17, (num_examples, 8, 8, 1)).astype(np.uint8),
        np.arange(num_examples, dtype=np.int32),
    )
    batching = preprocessing.Batching(**{"epochs": 1, **options})
    return batching.client_data(examples, np.array(seed, np.int64))[0]


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
    is_step = batches[:, 0] != preprocessing.PADDING_STEP
    assert (is_real == is_step).all()
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
        for seed in ((1, 2), (1, 2), (3, 2))
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    assert (first[:5] != first[5:10]).any()


@given(
    num_examples=st.integers(0, 60),
    epochs=st.integers(1, 3),
    batch_size=st.integers(1, 70),
    seed=st.integers(0, 2**31 - 1),
)
def test_poisson_lots_keep_every_draw_and_every_step(
    num_examples, epochs, batch_size, seed
):
    data = client_data(
        num_examples,
        (seed, 1),
        epochs=epochs,
        batch_size=batch_size,
        poisson=True,
    )
    batches = data["batches"]
    steps = epochs * -(-num_examples // batch_size)
    # Empty lots are steps as well, and steps come first.
    is_step = batches[:, 0] != preprocessing.PADDING_STEP
    assert is_step.sum() == steps and is_step[:steps].all()
    rng = np.random.default_rng(np.array([seed, 1], np.int64).view(np.uint32))
    for row in batches[:steps]:
        drawn = row[row >= 0]
        # All that the generator drew, in front of the padding.
        rate = min(1, batch_size / num_examples)
        expected = np.flatnonzero(rng.random(num_examples) < rate)
        np.testing.assert_array_equal(drawn, expected)
        assert (row[len(drawn) :] == -1).all()


def test_each_example_is_in_a_poisson_lot_with_the_rate_independently():
    batches = client_data(50, batch_size=5, epochs=400, poisson=True)["batches"]
    lots = batches[: 400 * 10]
    is_in = np.stack([(lots == i).any(axis=1) for i in range(50)], 1)
    # 4,000 draws: five deviations of a mean are .024, of a covariance .007.
    np.testing.assert_allclose(is_in.mean(0), 0.1, atol=0.024)
    covariance = np.cov(is_in.T.astype(float))
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.009
    # Binomial, and so neither of one size nor bounded by the batch size.
    assert is_in.sum(1).std() == pytest.approx(np.sqrt(50 * 0.09), rel=0.1)


def test_a_draw_that_does_not_fit_the_usual_width_widens_it(monkeypatch):
    class Greedy:
        """Draws everything in the second step."""

        def __init__(self):
            self.step = 0

        def random(self, size):
            self.step += 1
            return np.zeros(size) if self.step == 2 else np.ones(size)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Greedy())
    batching = preprocessing.Batching(1, 10, poisson=True)
    batches = batching._batches(1_000, 100, 10, np.array([1, 2], np.int32))
    assert sorted(batches[1][batches[1] >= 0]) == list(range(1_000))
    assert (batches[0] == -1).all()  # An empty lot is a step all the same.


@given(
    num_examples=st.integers(0, 300),
    epochs=st.integers(1, 3),
    batch_size=st.integers(1, 400),
    poisson=st.booleans(),
)
def test_the_estimate_of_a_client_s_memory(
    num_examples, epochs, batch_size, poisson
):
    batching = preprocessing.Batching(epochs, batch_size, poisson=poisson)
    data = client_data(
        num_examples, epochs=epochs, batch_size=batch_size, poisson=poisson
    )
    needed = sum(value.nbytes for value in data.values()) - data["seed"].nbytes
    estimate = batching.num_bytes(num_examples, 64)
    if poisson:
        assert estimate <= needed
    else:
        assert estimate == needed


@given(
    num_examples=st.integers(0, 40),
    epochs=st.integers(1, 3),
    batch_size=st.integers(1, 15),
    part=st.floats(0, 1),
    poisson=st.booleans(),
)
def test_cut_steps_are_the_first_and_count_what_they_take(
    num_examples, epochs, batch_size, part, poisson
):
    batching = preprocessing.Batching(epochs, batch_size, poisson=poisson)
    whole = client_data(
        num_examples, epochs=epochs, batch_size=batch_size, poisson=poisson
    )
    before = whole["batches"].copy()
    padding = preprocessing.PADDING_STEP
    assert (before[:, 0] != padding).sum() == batching.num_steps(num_examples)
    num_steps = round(part * batching.num_steps(num_examples))
    cut = preprocessing.cut_steps(whole, num_steps)
    np.testing.assert_array_equal(whole["batches"], before)
    assert list(cut) == list(whole)
    assert cut["images"] is whole["images"]
    np.testing.assert_array_equal(
        cut["batches"][:num_steps], before[:num_steps]
    )
    assert (cut["batches"][num_steps:] == padding).all()
    assert cut["batches"].shape == before.shape
    if not poisson:
        taken = (cut["batches"] >= 0).sum()
        assert batching.num_trained(num_examples, num_steps) == taken


def test_all_steps_take_each_example_in_each_epoch():
    for batching in (
        preprocessing.Batching(3, 4),
        preprocessing.Batching(3, 4, poisson=True),
    ):
        assert batching.num_trained(10, batching.num_steps(10)) == 30
        assert batching.num_trained(0, 0) == 0


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(0, 23),
    batch_size=st.integers(1, 9),
    steps=st.integers(1, 12),
)
def test_a_number_of_steps_takes_as_many_passes_as_it_needs(
    size, batch_size, steps
):
    examples = Examples(
        np.zeros((size, 2, 2, 1), np.uint8), np.zeros(size, np.int32)
    )
    seed = np.array([3, 4], np.int64)
    counted = preprocessing.Batching(1, batch_size, steps=steps)
    (found,) = counted.client_data(examples, seed)
    batches = found["batches"]
    taken = batches[batches[:, 0] != preprocessing.PADDING_STEP]
    assert len(taken) == (steps if size else 0)
    assert batches.shape[0] == steps  # All clients alike: one shape.
    # As the first so many steps of more passes than needed.
    (more,) = preprocessing.Batching(steps, batch_size).client_data(
        examples, seed
    )
    real = more["batches"]
    real = real[real[:, 0] != preprocessing.PADDING_STEP]
    np.testing.assert_array_equal(taken, real[:steps])
    image_bytes, entries = 4, 4 * batches.size
    rows = len(found["labels"])
    assert counted.num_bytes(size, image_bytes) == rows * 8 + entries


def test_poisson_draws_have_no_other_number_of_steps():
    with pytest.raises(ValueError, match="poisson"):
        preprocessing.Batching(1, 4, poisson=True, steps=2)
