import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.core.errors import UsageError
from tff_cnn.selection.edges import Edges, most_frequent_label


def labels_of(*clients):
    return [np.array(own, np.int32) for own in clients]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_edges_have_equally_many_clients_or_one_more(data):
    num_clients = data.draw(st.integers(1, 40))
    num_edges = data.draw(st.integers(1, num_clients))
    kind = data.draw(st.sampled_from(["iid", "niid"]))
    own = st.lists(st.integers(0, 4), max_size=3)
    labels = labels_of(*[data.draw(own) for _ in range(num_clients)])
    seed = data.draw(st.integers(0, 99))
    found = Edges(num_edges, kind).of_clients(labels, seed)
    sizes = np.bincount(found, minlength=num_edges)
    assert found.dtype == np.int64 and len(sizes) == num_edges
    assert sizes.max() - sizes.min() <= 1 and sizes.min() >= 1
    again = Edges(num_edges, kind).of_clients(labels, seed)
    np.testing.assert_array_equal(found, again)


def test_edges_are_unlike_one_another_where_that_is_asked_for():
    most = np.arange(100) % 10
    labels = [np.array([label, label, 3], np.int32) for label in most]
    edges = Edges(10, "niid").of_clients(labels, 0)
    assert all(len({*most[edges == edge]}) == 1 for edge in range(10))
    mixed = Edges(10, "iid").of_clients(labels, 0)
    assert min(len({*most[mixed == edge]}) for edge in range(10)) >= 4


def test_edges_follow_from_the_seed():
    labels = labels_of(*[[0]] * 30)
    for kind in ("iid", "niid"):
        found = {
            tuple(Edges(3, kind).of_clients(labels, seed)) for seed in range(5)
        }
        assert len(found) == 5


def test_the_most_frequent_label():
    assert most_frequent_label(np.array([2, 1, 2, 1, 2])) == 2
    assert most_frequent_label(np.array([3, 1, 3, 1])) == 1
    assert most_frequent_label(np.zeros(0, np.int32)) == -1
    several = np.array([[0, 1, 1], [0, 0, 1]])
    assert most_frequent_label(several) == 2


def test_more_edges_than_clients():
    with pytest.raises(UsageError, match="num_edges=3 is more than the 2"):
        Edges(3, "iid").of_clients(labels_of([0], [1]), 0)
