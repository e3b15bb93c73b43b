"""Fixtures that the whole suite shares; what is slow is made once."""

import gc
import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from tests.warm import GARBAGE_THRESHOLDS
from tff_cnn.data.examples import Examples


def pytest_configure():
    # TensorFlow's and TFF's million objects live as long as the process, and
    # looking through them again and again takes a fifth of the time in which
    # graphs are built.
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    # Whoever starts the suite in the background may have it ignored, and
    # programs that tests interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def native_worker():
    """One native worker for the whole session, and its context."""
    from tff_cnn.runtime import native

    with native.open_runtime() as context:
        yield context


@pytest.fixture
def native_runtime(native_worker):
    """TFF computations of the test run on the session's native worker."""
    import tensorflow_federated as tff

    tff.framework.set_default_context(native_worker)


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


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Flags -> `runs.Trained`, each trained once for all workers."""
    from tests.runs import Runs

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return Runs(folder / "trained")
