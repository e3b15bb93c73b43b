import numpy as np
import pytest

from tff_cnn.data.examples import ClientExamples, Examples


def test_checks_types_and_shapes():
    images = np.zeros((3, 8, 8, 1), np.uint8)
    labels = np.zeros(3, np.int32)
    assert len(Examples(images, labels)) == 3
    assert len(Examples(images.astype(np.float32), labels)) == 3
    with pytest.raises(ValueError, match="uint8"):
        Examples(images.astype(np.float64), labels)
    with pytest.raises(ValueError, match="uint8"):
        Examples(images[..., 0], labels)
    with pytest.raises(ValueError, match="int32"):
        Examples(images, labels.astype(np.int64))
    with pytest.raises(ValueError, match="3 images"):
        Examples(images, labels[:2])


def test_clients_hold_what_their_indices_say(tiny_examples):
    clients = ClientExamples(
        tiny_examples, [np.array([0, 5]), np.array([7]), np.array([1, 2, 3])]
    )
    assert len(clients) == 3
    assert clients.num_examples(2) == 3
    np.testing.assert_array_equal(
        clients[0].images, tiny_examples.images[[0, 5]]
    )
    np.testing.assert_array_equal(
        clients.pooled([1, 2]).labels, tiny_examples.labels[[7, 1, 2, 3]]
    )
    assert clients.subset([2, 0]).num_examples(1) == 2


def test_clients_without_examples_come_after_the_others(tiny_examples):
    clients = ClientExamples(tiny_examples, [np.arange(3), np.arange(3, 5)])
    joined = clients.with_empty(2)
    assert [joined.num_examples(c) for c in range(4)] == [3, 2, 0, 0]
    assert joined[3].images.shape == (0, 8, 8, 1)
