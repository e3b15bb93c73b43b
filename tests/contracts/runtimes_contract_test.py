"""Every runtime gives what TFF's own worker gives.

Each case runs once on every other runtime; what the worker gives is stored,
and a few cases are computed by it every time; see `tests/contracts/runtimes/`.
Exact where arithmetic is, 1e-5 for trained weights.
"""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.contracts.runtimes import (  # noqa: F401 - they register cases.
    aggregators,
    algorithms,
    computations,
    resources,
    store,
    values,
)
from tests.contracts.runtimes.cases import CASES
from tff_cnn import runtime
from tff_cnn.aggregators import private
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.runtime import RUNTIMES

OTHERS = [name for name in RUNTIMES if name != store.REFERENCE]
# Computed by the reference every time: one of each kind.
SAMPLE = ("weighted_fed_avg", "tree_aggregation", "select", "stages", "strings")


@pytest.fixture(scope="module")
def stored():
    """Case -> what the reference gives, as far as it is known."""
    return store.load()


def assert_equal(found, expected, atol):
    """Of two encoded results."""
    assert found["structure"] == expected["structure"]
    for a, b in zip(store.arrays(found), store.arrays(expected), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=atol)
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(name, other, stored):
    expected = stored.get(name) or store.compute([name])[name]
    with runtime.use(other):
        found = store.encode(CASES[name].run())
    assert_equal(found, expected, CASES[name].atol)


def test_the_store_is_of_these_cases(stored):
    assert stored.keys() == CASES.keys(), f"run {store.COMMAND}"


@pytest.mark.parametrize("name", SAMPLE)
def test_the_store_is_what_the_reference_gives(name, stored):
    assert_equal(store.compute([name])[name], stored[name], CASES[name].atol)


def test_a_store_of_other_cases_is_not_used(tmp_path, monkeypatch):
    path = tmp_path / "native.json"
    content = json.loads(store.PATH.read_text())
    path.write_text(json.dumps(content))
    assert store.load(path) == content["cases"]
    path.write_text(json.dumps({**content, "digest": "of other cases"}))
    assert store.load(path) == {}
    assert store.load(tmp_path / "missing") == {}
    monkeypatch.setattr(
        store.importlib.metadata, "version", lambda name: "0.88.0"
    )
    assert store.load() == {}


def test_storing_loses_nothing():
    result = {
        "a": [np.float32([[0.1, np.nan]]), np.int64(-3), np.bool_(True)],
        "b": (b"bytes\0x", np.array([b"a", b"bc"]), np.float16(1.5)),
        "c": np.array([b"one", b"\0two"], object),
    }
    encoded = json.loads(json.dumps(store.encode(result)))
    leaves = [np.asarray(leaf) for leaf in tf.nest.flatten(result)]
    for found, leaf in zip(store.arrays(encoded), leaves, strict=True):
        assert (found.dtype, found.shape) == (leaf.dtype, leaf.shape)
        assert found.tolist() == leaf.tolist() or np.isnan(leaf).any()
    assert encoded["structure"] == "{'a': [0, 0, 0], 'b': (0, 0, 0), 'c': 0}"


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
