"""Every runtime gives what TFF's own worker gives.

Each case runs once on every runtime; see `tests/contracts/runtimes/`. Exact
where arithmetic is, 1e-5 for trained weights.
"""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.contracts.runtimes import (  # noqa: F401 - they register cases.
    aggregators,
    algorithms,
    computations,
    resources,
    values,
)
from tests.contracts.runtimes.cases import CASES
from tff_cnn import runtime
from tff_cnn.aggregators import private
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.runtime import RUNTIMES

REFERENCE = "native"
OTHERS = [name for name in RUNTIMES if name != REFERENCE]


@pytest.fixture(scope="module")
def results():
    """Runtime and case -> result, computed when first asked for."""
    found = {}

    def result(name, runtime_name):
        key = (name, runtime_name)
        if key not in found:
            with runtime.use(runtime_name):
                found[key] = CASES[name].run()
        return found[key]

    return result


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(name, other, results):
    expected, found = results(name, REFERENCE), results(name, other)
    tf.nest.assert_same_structure(expected, found)
    for a, b in zip(
        tf.nest.flatten(expected), tf.nest.flatten(found), strict=True
    ):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=CASES[name].atol)
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("other", RUNTIMES)
def test_two_runs_give_identical_bits(other):
    digests = []
    for _ in range(2):
        with runtime.use(other):
            _, state = CASES["weighted_fed_avg"].run()
        digests.append(
            [np.asarray(leaf).tobytes() for leaf in tf.nest.flatten(state)]
        )
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", RUNTIMES)
def test_private_noise_is_fresh_in_every_round_and_of_every_seed(name):
    mechanism = FixedClipGaussian(2.0, 1.5, 20.0, Participation("poisson", 0.5))
    releases = []
    for seed in ((1, 2), (1, 3)):
        process = private.build(mechanism, seed).create(
            tff.TensorType(np.float32, (5000,))
        )
        with runtime.use(name):
            state = process.initialize()
            for _ in range(2):
                output = process.next(state, [])
                state = output.state
                releases.append(output.result)
    assert np.std(releases) == pytest.approx(mechanism.noise_stddev(), rel=0.05)
    correlations = np.corrcoef(releases) - np.eye(4)
    assert np.abs(correlations).max() < 0.08  # 5.6 standard deviations
