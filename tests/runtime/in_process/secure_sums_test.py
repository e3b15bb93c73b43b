"""Modular sums that somebody else executes (`core.secure_sums`)."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn import runtime
from tff_cnn.core import secure_sums

TYPE = tff.to_type(
    collections.OrderedDict(
        a=tff.TensorType(np.int64, (2,)), b=tff.TensorType(np.int32)
    )
)


class Recorded:
    """The product of what it gets, for a sum cannot be mistaken for it."""

    begun = ()

    def __init__(self, moduli, num_clients):
        Recorded.begun = (moduli, num_clients)
        self.clients, self.products = [], None

    def add(self, client, arrays):
        self.clients.append(client)
        before = self.products or list(map(np.ones_like, arrays))
        self.products = list(map(np.multiply, before, arrays))

    def finish(self):
        assert self.clients == list(range(len(self.clients)))
        return self.products


@pytest.fixture(autouse=True)
def opened():
    with runtime.use("in_process", threads=1):
        yield


@tff.tensorflow.computation(TYPE)
def tripled(value):
    return tf.nest.map_structure(lambda x: 3 * x, value)


@tff.federated_computation(tff.FederatedType(TYPE, tff.CLIENTS))
def compute(value):
    total = tff.backends.mapreduce.federated_secure_modular_sum(
        tff.federated_map(tripled, value), 100
    )
    return total, tff.federated_sum(value)


VALUES = [
    collections.OrderedDict(a=np.int64([1, 2]), b=np.int32(1)),
    collections.OrderedDict(a=np.int64([20, 2]), b=np.int32(5)),
]


def test_modular_sums_are_handed_over_and_others_are_not():
    with secure_sums.executed_by(Recorded):
        secure, plain = compute(VALUES)
    assert Recorded.begun == ([100, 100], 2)
    assert (secure["a"].tolist(), secure["b"]) == ([80, 36], 45)
    assert (plain["a"].tolist(), plain["b"]) == ([21, 4], 6)
    secure, _ = compute(VALUES)
    assert (secure["a"].tolist(), secure["b"]) == ([63, 12], 18)


def test_the_sum_of_nobody_is_nobodys():
    with secure_sums.executed_by(Recorded):
        secure, _ = compute([])
    assert (secure["a"].tolist(), secure["b"]) == ([0, 0], 0)
