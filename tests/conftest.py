"""Fixtures that the whole suite shares; what is slow is made once."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from tff_cnn.data.examples import Examples


@pytest.fixture(scope="session")
def native_runtime():
    """TFF computations run on one native worker for the whole session."""
    from tff_cnn import runtime

    with runtime.use("native"):
        yield


@pytest.fixture(scope="session")
def digits():
    from tff_cnn.data import SOURCES

    return SOURCES.get("digits")()


@pytest.fixture(scope="session")
def tiny_examples() -> Examples:
    """24 random 8x8 images of 3 classes."""
    rng = np.random.default_rng(0)
    return Examples(
        rng.integers(0, 17, (24, 8, 8, 1)).astype(np.uint8),
        (np.arange(24) % 3).astype(np.int32),
    )
