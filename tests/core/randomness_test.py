import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tff_cnn.core import randomness
from tff_cnn.core.randomness import Purpose

SEEDS = st.integers(0, 2**63)
SMALL = st.integers(0, 10**6)


@given(SEEDS, SMALL, SMALL)
def test_same_arguments_same_stream(root, round_num, client):
    arguments = (root, Purpose.LOCAL_TRAINING, round_num, client)
    first = randomness.stateless_seed(*arguments)
    np.testing.assert_array_equal(first, randomness.stateless_seed(*arguments))
    assert first.dtype == np.int64 and first.shape == (2,)


def test_every_argument_changes_the_stream():
    seeds = {
        tuple(randomness.stateless_seed(root, purpose, round_num, client))
        for root, purpose, round_num, client in itertools.product(
            range(3), Purpose, range(3), range(3)
        )
    }
    assert len(seeds) == 3 * len(Purpose) * 3 * 3


def test_streams_are_the_same_for_ever():
    # Resuming a run with a newer version must draw the same cohorts.
    draws = randomness.generator(7, Purpose.SELECTION, 3).integers(0, 1000, 4)
    assert draws.tolist() == [36, 122, 463, 593]
    # Clients' orders follow from the first two of four words.
    words = randomness.stateless_seed(7, Purpose.LOCAL_TRAINING, 3, 4)
    sequence = randomness.seed_sequence(7, Purpose.LOCAL_TRAINING, 3, 4)
    assert words.view(np.uint32).tolist() == (
        sequence.generate_state(4).tolist()
    )


def test_integer_seed_is_in_range():
    for root in range(50):
        seed = randomness.integer_seed(root, Purpose.INITIAL_WEIGHTS)
        assert 0 <= seed < 2**31
