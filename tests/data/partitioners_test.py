"""What is particular to each partitioner; see contracts for what is common."""

import numpy as np
import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.data import partitioners

LABELS = np.repeat(np.arange(10), 60).astype(np.int32)  # 600, sorted


def class_counts(labels, parts):
    return np.array([np.bincount(labels[p], minlength=10) for p in parts])


def test_iid_sizes_differ_by_at_most_one():
    sizes = [len(p) for p in partitioners.iid(LABELS, 7, 0)]
    assert sorted(sizes) == [85, 85, 86, 86, 86, 86, 86]


def test_iid_mixes_classes():
    counts = class_counts(LABELS, partitioners.iid(LABELS, 4, 0))
    assert counts.min() >= 5  # Expected 15 of each class a client.


def test_shards_are_mcmahans_pathological_split():
    # 20 shards of 30: each lies within one class of 60.
    parts = partitioners.shards(LABELS, 10, 0, shards_per_client=2)
    counts = class_counts(LABELS, parts)
    assert set(counts.flatten()) <= {0, 30, 60}
    assert (counts.sum(axis=1) == 60).all()
    assert (np.count_nonzero(counts, axis=1) <= 2).all()


def test_shards_choose_at_random_within_a_class():
    parts = partitioners.shards(LABELS, 20, 1, shards_per_client=1)
    for part in parts:  # 30 of the 60 examples of a class.
        assert np.ptp(LABELS[part]) == 0
        assert np.ptp(part) > 40  # Not simply consecutive examples.


def test_shards_are_a_stable_sort_of_a_shuffle_that_is_dealt():
    """So that a seed means the same on every machine."""
    labels = np.random.default_rng(2).integers(0, 10, 300)
    rng = np.random.default_rng(5)
    by_label = sorted(rng.permutation(300), key=lambda i: labels[i])
    shards = np.reshape(by_label, (20, 15))
    expected = shards[rng.permutation(20)].reshape(10, 30)
    found = partitioners.shards(labels, 10, 5, shards_per_client=2)
    np.testing.assert_array_equal(found, np.sort(expected, axis=1))


def test_as_many_shards_as_examples_can_be_dealt():
    parts = partitioners.shards(LABELS, 60, 0, shards_per_client=10)
    assert {len(part) for part in parts} == {10}


def test_shards_that_outnumber_the_examples_are_refused():
    with pytest.raises(UsageError, match="needs 700 shards, more than the 600"):
        partitioners.shards(LABELS, 70, 0, shards_per_client=10)
    with pytest.raises(UsageError, match="partition.shards_per_client=0"):
        partitioners.shards(LABELS, 10, 0, shards_per_client=0)


def test_dirichlet_sizes_are_equal():
    sizes = [len(p) for p in partitioners.dirichlet(LABELS, 7, 0, alpha=0.3)]
    assert sorted(set(sizes)) == [85, 86]


def test_dirichlet_with_a_large_alpha_is_iid():
    counts = class_counts(LABELS, partitioners.dirichlet(LABELS, 5, 0, 1e8))
    # Multinomial around 12 of each class with 120 examples.
    assert np.abs(counts - 12).max() <= 14


def test_dirichlet_with_a_tiny_alpha_is_one_class_a_client():
    labels = np.repeat(np.arange(10), 100)
    counts = class_counts(labels, partitioners.dirichlet(labels, 40, 0, 1e-3))
    share = counts.max(axis=1) / counts.sum(axis=1)
    # Clients dealt late get what is left over, so not all are pure.
    assert np.median(share) == 1.0


def test_dirichlet_follows_the_prior_of_the_data():
    labels = np.repeat([0, 1], [900, 100])
    parts = partitioners.dirichlet(labels, 50, 0, alpha=1e8)
    share = [np.mean(labels[p] == 1) for p in parts]
    assert np.mean(share) == pytest.approx(0.1)
    assert np.std(share) < 0.12


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_dirichlet_refuses_an_alpha_that_is_no_concentration(alpha):
    with pytest.raises(UsageError, match="partition.alpha"):
        partitioners.dirichlet(LABELS, 5, 0, alpha)
