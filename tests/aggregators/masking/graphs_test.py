import numpy as np
import pytest

from tff_cnn.aggregators.masking import graphs


def test_all_with_all():
    assert graphs.complete(1) == {0: ()}
    assert graphs.complete(3) == {0: (1, 2), 1: (0, 2), 2: (0, 1)}


@pytest.mark.parametrize(("n", "k"), [(10, 2), (11, 4), (50, 12), (6, 4)])
def test_each_has_as_many_neighbours_and_all_are_joined(n, k):
    graph = graphs.regular(n, k, np.random.default_rng(1))
    assert {len(set(others)) for others in graph.values()} == {k}
    for u, others in graph.items():
        assert u not in others
        assert all(u in graph[v] for v in others)
        assert others == tuple(sorted(others))
    reached, pending = {0}, [0]
    while pending:
        new = set(graph[pending.pop()]) - reached
        reached |= new
        pending += new
    assert len(reached) == n


def test_more_neighbours_than_clients_are_all_of_them():
    rng = np.random.default_rng(1)
    for n in (1, 2, 5):
        assert graphs.regular(n, 4, rng) == graphs.complete(n)


@pytest.mark.parametrize("k", [0, 3])
def test_neighbours_are_on_either_side(k):
    with pytest.raises(ValueError, match="half on either side"):
        graphs.regular(10, k, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("fraction", "holders", "expected"),
    [
        (2 / 3, 100, 67),
        (2 / 3, 3, 2),
        (0.8, 10, 8),
        (0.51, 10, 6),
        (0.5001, 2, 2),
        (0.5 + 1e-12, 10, 6),
        (1.0, 7, 7),
        (0.7, 1, 1),
    ],
)
def test_a_threshold_is_more_than_half(fraction, holders, expected):
    found = graphs.threshold(fraction, holders)
    assert found == expected
    assert 2 * found > holders


@pytest.mark.parametrize("fraction", [0.5, 0.0, 1.01])
def test_a_fraction_has_limits(fraction):
    with pytest.raises(ValueError, match="above 1/2"):
        graphs.threshold(fraction, 10)
