"""Every random choice is a function of (root seed, purpose, round, client).

Two purposes never share a stream, so changing what one of them draws leaves
all the others as they were, and a resumed run draws what the uninterrupted one
would have drawn. There is no global generator anywhere.
"""

import enum

import numpy as np


class Purpose(enum.IntEnum):
    """What a stream is for. Values are part of the run format: only append."""

    PARTITION = 1
    INITIAL_WEIGHTS = 2
    SELECTION = 3
    LOCAL_TRAINING = 4
    VALIDATION_SPLIT = 5
    TEST_ONLY_NOISE = 6  # No longer drawn from.
    CANARIES = 7
    METRIC_NOISE = 8
    CLIENT_HOLDOUT = 9
    LOCAL_STEPS = 10
    EDGES = 11
    AVAILABILITY = 12
    DROPOUT = 13
    CLIENT_SPEED = 14
    PUBLIC_EXAMPLES = 15
    ROBUST_EVALUATION = 16
    PUBLIC_BATCHES = 17
    HOLDOUT_CLIENTS = 18
    FINE_TUNING = 19
    PERTURBATION = 20
    ATTACKERS = 21
    POISON = 22
    SECURE_SUMS = 23


def seed_sequence(
    root: int, purpose: Purpose, round_num: int = 0, client: int = 0
) -> np.random.SeedSequence:
    """The seed sequence of one use; all arguments are non-negative."""
    return np.random.SeedSequence(
        entropy=root, spawn_key=(int(purpose), round_num, client)
    )


def generator(
    root: int, purpose: Purpose, round_num: int = 0, client: int = 0
) -> np.random.Generator:
    """A NumPy generator for one use."""
    return np.random.default_rng(
        seed_sequence(root, purpose, round_num, client)
    )


def stateless_seed(
    root: int, purpose: Purpose, round_num: int = 0, client: int = 0
) -> np.ndarray:
    """A seed for TensorFlow's stateless operations: int64, shape [2]."""
    state = seed_sequence(root, purpose, round_num, client)
    return state.generate_state(2, np.uint64).view(np.int64)


def integer_seed(root: int, purpose: Purpose) -> int:
    """A seed for libraries that take one integer, in [0, 2**31)."""
    return int(seed_sequence(root, purpose).generate_state(1)[0] >> 1)
