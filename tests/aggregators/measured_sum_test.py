import dataclasses

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.privacy.correlated_test import BLT, TREE
from tff_cnn import runtime
from tff_cnn.aggregators import private, secure_sum
from tff_cnn.privacy.mechanism import (
    AdaptiveClipGaussian,
    FixedClipGaussian,
    PerLayerClipGaussian,
)
from tff_cnn.privacy.participation import Participation

pytestmark = pytest.mark.usefixtures("native_runtime")

POISSON = Participation("poisson", 0.5)
FIXED = FixedClipGaussian(2.0, 1.5, 20.0, POISSON)
ADAPTIVE = AdaptiveClipGaussian(2.0, 0.5, 20.0, POISSON)


def measure(mechanism, values):
    process = private.build(mechanism, (1, 2)).create(
        tff.to_type([(np.float32, (2,)), (np.float32, (1,))])
    )
    output = process.next(process.initialize(), values)
    return {k: float(v) for k, v in output.measurements["dp"].items()}


@pytest.mark.parametrize(
    "mechanism",
    [
        FIXED,
        ADAPTIVE,
        dataclasses.replace(TREE, clip_norm=2.0),
        dataclasses.replace(BLT, clip_norm=2.0),
    ],
    ids=lambda mechanism: type(mechanism).__name__,
)
def test_worked_example(mechanism):
    long = [np.float32([30, 0]), np.float32([40])]  # Clipped to (1.2, 0, 1.6).
    short = [np.float32([0, 1]), np.float32([0])]
    # The sum of two long ones and a short one is (2.4, 1, 3.2): before noise.
    assert measure(mechanism, [long, short, long]) == {
        "num_clients": 3,
        "num_clipped": 2,
        "sum_norm": pytest.approx(np.sqrt(2.4**2 + 1 + 3.2**2), rel=1e-5),
    }


@pytest.mark.parametrize("mechanism", [FIXED, ADAPTIVE])
def test_nobody(mechanism):
    assert set(measure(mechanism, []).values()) == {0.0}


def test_by_layer_an_update_is_clipped_where_one_layer_is():
    mechanism = PerLayerClipGaussian(2.0, 1.5, 20.0, POISSON)
    values = [
        [np.float32([1.5, 0]), np.float32([0.1])],  # To 2 / sqrt(2).
        [np.float32([1.4, 0]), np.float32([1.4])],
    ]
    found = measure(mechanism, values)
    assert found["num_clipped"] == 1
    assert found["sum_norm"] == pytest.approx(
        np.hypot(2**0.5 + 1.4, 1.5), rel=1e-5
    )


@pytest.mark.parametrize(
    ("mechanism", "clipped"),
    [(FIXED, 1), (ADAPTIVE, 3)],
    ids=["fixed", "adapt"],
)
def test_one_client_does_not_spoil_what_is_measured(mechanism, clipped):
    infinite = [np.float32([np.inf, 0]), np.float32([1])]
    unknown = [np.float32([0, 0]), np.float32([np.nan])]
    huge = [np.float32([3e38, 0]), np.float32([-3e38])]  # To sqrt(2) each.
    short = [np.float32([0, 1]), np.float32([0])]
    # What is not finite arrives as zeros; adaptive clipping counts it too.
    assert measure(mechanism, [infinite, unknown, huge, short]) == {
        "num_clients": 4,
        "num_clipped": clipped,
        "sum_norm": pytest.approx(np.sqrt(5), rel=1e-5),
    }


@pytest.mark.parametrize("mechanism", [FIXED, ADAPTIVE])
def test_what_a_sum_measures_of_what_is_sent_is_passed_on(mechanism):
    total = secure_sum.build_record_sum(1.0, 12, 100)
    process = private.build(mechanism, (1, 2), total=total).create(
        tff.to_type([(np.float32, (2,)), (np.float32, (1,))])
    )
    value = [np.float32([1, 0]), np.float32([1.5])]
    with runtime.use("in_process"):  # It knows secure sums.
        output = process.next(process.initialize(), [value] * 3)
    found = output.measurements["dp"]
    assert found["num_clients"] == 3 and found["sum_norm"] > 0
    assert found["secure_clients"] == found["secure_clipped"] == 3
    # Integers of 3 bytes: of three numbers, three beside them, and of an
    # adaptive clip whether it was too short.
    numbers = 6 + (mechanism is ADAPTIVE)
    assert found["bytes_up"] == 3 * numbers * 3
