"""Every partitioner deals every example to exactly one client."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.core.errors import UsageError
from tff_cnn.data import PARTITIONERS


@st.composite
def deals(draw):
    num_clients = draw(st.integers(1, 30))
    # Enough for the two shards a client that `shards` deals by default.
    extra = draw(st.integers(0, 100))
    labels = draw(
        st.lists(
            st.integers(0, 9),
            min_size=2 * num_clients + extra,
            max_size=2 * num_clients + extra,
        )
    )
    return np.array(labels, np.int32), num_clients, draw(st.integers(0, 2**32))


@pytest.mark.parametrize("name", PARTITIONERS)
@settings(deadline=None, max_examples=60)
@given(deal=deals())
def test_each_example_goes_to_exactly_one_client(name, deal):
    labels, num_clients, seed = deal
    parts = PARTITIONERS.get(name)(labels, num_clients, seed)
    assert len(parts) == num_clients
    assert min(len(part) for part in parts) >= 1
    np.testing.assert_array_equal(
        np.sort(np.concatenate(parts)), np.arange(len(labels))
    )


@pytest.mark.parametrize("name", PARTITIONERS)
def test_is_a_pure_function_of_its_arguments(name):
    labels = np.random.default_rng(3).integers(0, 10, 500)
    before = labels.copy()
    first = PARTITIONERS.get(name)(labels, 20, 5)
    second = PARTITIONERS.get(name)(labels, 20, 5)
    other = PARTITIONERS.get(name)(labels, 20, 6)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(
        not np.array_equal(a, b) for a, b in zip(first, other, strict=True)
    )
    np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize("name", PARTITIONERS)
def test_more_clients_than_examples_are_refused(name):
    labels = np.zeros(5, np.int32)
    with pytest.raises(UsageError, match="num_clients=6 is more than the 5"):
        PARTITIONERS.get(name)(labels, 6, 0)
    with pytest.raises(UsageError, match="num_clients=0"):
        PARTITIONERS.get(name)(labels, 0, 0)
