import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from tff_cnn import tasks
from tff_cnn.core.errors import UsageError
from tff_cnn.data import SOURCES, Arrays, partitioners
from tff_cnn.data.examples import Examples, FromStorage
from tff_cnn.data.preprocessing import Batching
from tff_cnn.data.public_examples import PublicExamples
from tff_cnn.models import objectives
from tff_cnn.models.cnn import digits_cnn


def build(digits, **changes):
    arguments = {
        "partition": partitioners.iid,
        "num_clients": 50,
        "build_model": digits_cnn,
        "seed": 3,
        **changes,
    }
    return tasks.build_task(digits, **arguments)


def rows(examples) -> set[bytes]:
    everything = examples.take(np.arange(len(examples)))
    return {image.tobytes() for image in everything.images}


def test_no_client_sees_a_test_image(digits):
    task = build(digits)
    assert len(task.clients) == 50
    trained = rows(task.clients.pooled(range(50)))
    assert len(trained) == 1437
    assert len(task.evaluation) == 360
    assert not trained & rows(task.evaluation)


def test_validation_is_a_fifth_of_the_clients_and_never_the_test_set(digits):
    task = build(digits, use_validation=True)
    assert len(task.clients) == 40
    trained = rows(task.clients.pooled(range(40)))
    held_out = rows(task.evaluation)
    assert not trained & held_out
    assert trained | held_out == rows(digits.train)


def test_seed_fixes_partition_and_initial_weights(digits):
    first, second, other = (build(digits, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(
        first.clients[7].images, second.clients[7].images
    )
    assert not np.array_equal(first.clients[7].images, other.clients[7].images)
    for a, b in zip(
        first.model.get_weights(),
        second.model.get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_local_seeds_differ_by_client_and_round(digits):
    task = build(digits)
    batching = Batching(epochs=1, batch_size=10)
    seeds = {
        tuple(task.client_data(client, round_num, 0, batching)[0]["seed"])
        for client in range(5)
        for round_num in range(5)
    }
    assert len(seeds) == 25


def test_partition_options_reach_the_partitioner(digits):
    task = build(
        digits,
        partition=functools.partial(partitioners.shards, shards_per_client=1),
        num_clients=100,
    )
    # A shard of 14 of the 140 images a class touches at most two classes.
    assert max(len(set(task.clients[c].labels)) for c in range(100)) <= 2


def test_what_does_not_fit_is_refused(digits):
    with pytest.raises(UsageError, match="more than the 1437"):
        build(digits, num_clients=2000)


def test_a_fifth_of_an_only_clients_examples_is_for_validation(digits):
    task = build(digits, num_clients=1, use_validation=True)
    assert len(task.clients) == 1
    assert task.clients.num_examples(0) == 1437 - 287
    assert len(task.evaluation) == 287
    held_out = task.evaluation.take(np.arange(287))
    together = np.concatenate([task.clients[0].images, held_out.images])
    # All the images, each once: their order is another.
    assert sorted(map(bytes, together)) == sorted(
        map(bytes, digits.train.images)
    )


def test_rounds_that_no_memory_holds_are_refused(digits, monkeypatch):
    task = build(digits)  # 37 clients of 29 examples, 13 of 28.
    batching = Batching(epochs=10**9, batch_size=10)
    with pytest.raises(UsageError, match=r"10 clients.*=1000000000.*GiB"):
        task.check_memory(batching, 10.0)
    batching = Batching(epochs=1, batch_size=10)
    # Three batches of ten: images, labels and the order of each client.
    needed = 2 * 10 * (30 * (64 + 4) + 4 * 30)
    monkeypatch.setattr(tasks.memory, "available_bytes", lambda: needed)
    task.check_memory(batching, 10.0)
    monkeypatch.setattr(tasks.memory, "available_bytes", lambda: needed - 1)
    with pytest.raises(UsageError, match="fewer epochs"):
        task.check_memory(batching, 10.0)


def test_images_of_floats_stay_floats_and_count_four_bytes(monkeypatch):
    rng = np.random.default_rng(0)

    def task(images):
        labels = np.arange(20) % 2
        source = SOURCES.build(Arrays(images, labels, test=(images, labels)))
        return build(source, num_clients=4)

    needed = []
    monkeypatch.setattr(
        tasks.memory, "check_fits", lambda size, *_: needed.append(size)
    )
    images = rng.uniform(-3, 7, (20, 8, 8)).astype(np.float32)
    floats, integers = task(images), task(images.astype(np.int8).clip(0))
    spec = floats.element_spec["images"]
    assert spec == tf.TensorSpec([None, 8, 8, 1], tf.float32)
    assert integers.element_spec["images"].dtype == tf.uint8
    batching = Batching(1, 5)
    for found in (floats, integers):
        found.check_memory(batching, 3)
        (element,) = found.client_data(0, 1, 0, batching)
        assert element["images"].dtype == found.element_spec["images"].dtype
    np.testing.assert_array_equal(floats.prepare(tf.constant(images)), images)
    labels_and_batches = 2 * 3 * (5 * 4 + 5 * 4)
    assert needed == [2 * 3 * 5 * 64 * n + labels_and_batches for n in (4, 1)]


def test_grey_images_become_what_the_model_takes(digits):
    """In the client's graph: what is stored and handed over stays grey."""
    shapes = []

    def build_model(shape, *arguments):
        shapes.append(shape)
        return digits_cnn(shape, *arguments)

    plain = build(digits)
    task = build(
        digits, build_model=build_model, to_rgb=True, standardize="imagenet"
    )
    assert set(shapes) == {(8, 8, 3)}
    assert task.model.input_shape == (None, 8, 8, 3)
    assert task.element_spec == plain.element_spec
    prepared = task.prepare(tf.constant(task.clients[0].images))
    red = (task.clients[0].images[..., 0] / 16 - 0.485) / 0.229
    np.testing.assert_allclose(prepared[..., 0], red, atol=1e-6)
    with pytest.raises(UsageError, match="three channels, .*grey: use to_rgb"):
        build(digits, build_model=lambda s, *a: digits_cnn((8, 8, 3), *a))


def test_statistics_are_of_clients_that_are_trained(digits):
    found = build(digits, standardize="data", use_validation=True)
    images = found.clients.pooled(range(len(found.clients)))
    pixels = images.take(np.arange(len(images))).images / 16
    assert found.prepare.standard.mean == pytest.approx((pixels.mean(),))
    assert found.prepare.standard.std == pytest.approx((pixels.std(),))


def test_clients_that_are_held_out_are_kept_one_by_one(digits):
    whole = build(digits)
    task = build(digits, holdout_clients=0.1, client_holdout=0.25)
    assert (len(task.clients), len(task.unseen)) == (45, 5)
    # The test split stays what is evaluated on.
    assert rows(task.evaluation) == rows(digits.test)
    everybody = [rows(whole.clients[c]) for c in range(50)]
    for client in range(5):
        assert rows(task.unseen[client]) in everybody
    aside = rows(task.unseen.pooled(range(5)))
    trained = rows(task.clients.pooled(range(45)))
    held_out = rows(task.held_out.pooled(range(45)))
    assert not aside & trained and not aside & held_out
    assert aside | trained | held_out == rows(digits.train)
    assert whole.unseen is None
    task = build(digits, use_validation=True)
    assert rows(task.unseen.pooled(range(10))) == rows(task.evaluation)


@pytest.mark.parametrize(
    ("fraction", "count"), [(0.01, 1), (0.5, 2), (0.99, 3)]
)
def test_one_client_at_least_is_held_out_and_one_is_trained(
    digits, fraction, count
):
    task = build(digits, num_clients=4, holdout_clients=fraction)
    assert len(task.unseen) == count and len(task.clients) == 4 - count


def test_an_only_client_cannot_be_held_out(digits):
    with pytest.raises(UsageError, match="there is only one: deal to more"):
        build(digits, num_clients=1, holdout_clients=0.5)


def test_a_part_of_each_clients_examples_is_held_out(digits):
    whole = build(digits)
    task = build(digits, client_holdout=0.25)
    assert len(task.clients) == len(task.held_out) == 50
    for client in range(50):
        size = whole.clients.num_examples(client)
        assert task.held_out.num_examples(client) == round(size / 4)
        trained, held_out = (
            rows(task.clients[client]),
            rows(task.held_out[client]),
        )
        assert not trained & held_out
        assert trained | held_out == rows(whole.clients[client])
    assert len(task.evaluated["holdout"]) == sum(
        round(whole.clients.num_examples(c) / 4) for c in range(50)
    )
    assert list(whole.evaluated) == ["test"]
    again = build(digits, client_holdout=0.25)
    np.testing.assert_array_equal(
        task.held_out[3].images, again.held_out[3].images
    )


def test_no_client_loses_its_last_example_and_small_ones_hold_out_one(digits):
    indices = [np.arange(1), np.arange(1, 3), np.arange(3, 1437)]
    for fraction in (0.01, 0.99):
        task = build(
            digits,
            partition=lambda *_: indices,
            num_clients=3,
            client_holdout=fraction,
        )
        sizes = [task.clients.num_examples(c) for c in range(3)]
        assert sizes[:2] == [1, 1]
        assert sizes[2] == 1434 - round(fraction * 1434)


def test_what_is_read_from_storage_is_cached(digits):
    reads = []

    def stored(examples):
        def read(indices):
            reads.append(len(indices))
            return examples.images[indices]

        return FromStorage(read, examples.labels, (8, 8, 1), np.uint8)

    source = dataclasses.replace(
        digits, train=stored(digits.train), test=stored(digits.test)
    )
    task = build(source, cache_bytes=2 * 360 * 64)
    assert task.element_spec == build(digits).element_spec
    for _ in range(2):
        task.clients[0]
        task.evaluation.take(np.arange(360))
    assert reads == [len(task.clients[0]), 360]
    # Half of it does not hold the test images: they are read each time.
    task = build(source, cache_bytes=2 * 359 * 64)
    reads.clear()
    for _ in range(2):
        task.clients[0]
        task.evaluation.take(np.arange(360))
    assert reads == [len(task.clients[0]), 360, 360]


def one_logit(image_shape, num_classes, seed):
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(image_shape),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(1),
        ]
    )


def of_labels(digits, labels, num_classes):
    def with_labels(examples):
        return Examples(examples.images, labels(examples.labels))

    return dataclasses.replace(
        digits,
        train=with_labels(digits.train),
        test=with_labels(digits.test),
        num_classes=num_classes,
    )


def test_the_objective_follows_from_labels_and_model(digits):
    two = of_labels(digits, lambda y: np.int32(y > 7), 2)
    task = build(two, build_model=one_logit, balance_classes=True)
    share = np.mean(two.train.labels)
    assert task.objective.name == "binary"
    np.testing.assert_allclose(
        task.objective.weights, [0.5 / (1 - share), 0.5 / share]
    )
    assert build(two).objective == objectives.SOFTMAX
    bits = of_labels(
        digits, lambda y: np.int32(y[:, None] >> np.arange(4) & 1), 4
    )
    task = build(bits, class_weights=(1, 2, 3, 4))
    assert task.objective == objectives.Labelwise((1.0, 2.0, 3.0, 4.0))
    assert task.element_spec["labels"].shape.as_list() == [None, 4]
    with pytest.raises(UsageError, match="4 labels: give one for each"):
        build(bits, class_weights=(1, 2))
    with pytest.raises(UsageError, match=r"maps .* to \(None, 1\)"):
        build(digits, build_model=one_logit)


def test_public_images_are_scaled_by_their_own_pixels(digits):
    images = np.full((3, 8, 8, 1), 51, np.uint8)
    public = PublicExamples(images, None, pixel_max=255)
    task = build(digits, public=public, to_rgb=False)
    np.testing.assert_allclose(task.prepare_public(images), 0.2, atol=1e-6)
    np.testing.assert_allclose(task.prepare(images), 51 / 16, atol=1e-6)
    assert build(digits).public is None
