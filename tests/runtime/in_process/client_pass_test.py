"""Groups, their order, and what happens when one fails."""

import collections
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests import processes
from tff_cnn.runtime.in_process import client_pass
from tff_cnn.runtime.in_process.context import InProcessContext
from tff_cnn.runtime.in_process.schedule import Schedule

ELEMENT = collections.OrderedDict(
    x=tff.TensorType(np.float32, [None]), scale=tff.TensorType(np.float32)
)


@tff.tensorflow.computation(tff.SequenceType(ELEMENT))
def scaled_sum(data):
    element = data.get_single_element()
    return tf.reduce_sum(element["x"]) * element["scale"]


@tff.federated_computation(
    tff.FederatedType(tff.SequenceType(ELEMENT), tff.CLIENTS)
)
def sums(data):
    each = tff.federated_map(scaled_sum, data)
    return each, tff.federated_sum(each)


def clients(sizes):
    return [
        [
            collections.OrderedDict(
                x=np.full(size, 0.1, np.float32), scale=np.float32(number)
            )
        ]
        for number, size in enumerate(sizes)
    ]


def run(schedule, sizes):
    context = InProcessContext(schedule)
    tff.framework.set_default_context(context)
    try:
        return sums(clients(sizes))
    finally:
        context.close()


RAGGED = [3, 5, 3, 3, 4, 5, 3, 1, 4, 4, 3, 5, 5, 5, 3, 9, 3, 3] * 4


@pytest.fixture
def group_sizes(monkeypatch):
    """Collects how many clients each call has."""
    sizes = []

    class Spy(client_pass.Block):
        def __init__(self, clients, *rest):
            sizes.append(len(clients))
            super().__init__(clients, *rest)

    monkeypatch.setattr(client_pass, "Block", Spy)
    return sizes


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("threads", [1, 3])
def test_groups_change_neither_results_nor_the_order_of_sums(
    size, threads, group_sizes
):
    each, total = run(Schedule(("CPU:0",), threads, size), RAGGED)
    expected = [
        np.sum(np.full(n, 0.1, np.float32)) * np.float32(i)
        for i, n in enumerate(RAGGED)
    ]
    np.testing.assert_allclose(each, expected, rtol=1e-6)
    in_order = np.float32(0)
    for value in each:
        in_order = np.float32(in_order + value)
    assert total == in_order
    assert sum(group_sizes) == len(RAGGED)
    assert max(group_sizes) <= size
    assert (size == 1) == (max(group_sizes) == 1)


def fail_above(limit, monkeypatch):
    """A device with memory for `limit` clients in one call."""
    make_block = client_pass.ClientPass._block

    def block(self, clients, values, device):
        if len(clients) > limit:
            raise client_pass._OutOfMemoryError
        return make_block(self, clients, values, device)

    monkeypatch.setattr(client_pass.ClientPass, "_block", block)


def test_out_of_memory_means_smaller_groups(monkeypatch, group_sizes, capsys):
    fail_above(6, monkeypatch)
    schedule = Schedule(("CPU:0",), 1, 20)
    expected = run(Schedule(("CPU:0",), 1, 1), [3] * 40)
    group_sizes.clear()
    assert run(schedule, [3] * 40) == expected
    assert max(group_sizes) <= 6 and sum(group_sizes) == 40
    group_sizes.clear()
    assert run(schedule, [3] * 40) == expected
    assert set(group_sizes) == {5}  # Remembered: 20, 10, 5.
    assert "--clients_per_step=5" in capsys.readouterr().err


def test_tensorflows_own_error_counts_as_out_of_memory(monkeypatch):
    calls = []

    def cancelable(self, function):
        def call(*values):
            calls.append(len(calls))
            if len(calls) == 1:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM")
            return function(*values)

        return call

    monkeypatch.setattr(
        client_pass.cancellation.CancellationManager,
        "get_cancelable_function",
        cancelable,
    )
    each, _ = run(Schedule(("CPU:0",), 1, 8), [3] * 8)
    assert len(calls) == 3 and len(each) == 8


def test_a_client_that_alone_needs_too_much_is_named(monkeypatch):
    def cancelable(self, function):
        def call(*values):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM")

        return call

    monkeypatch.setattr(
        client_pass.cancellation.CancellationManager,
        "get_cancelable_function",
        cancelable,
    )
    with pytest.raises(client_pass.ClientError, match="client 0 of 2.*OOM"):
        run(Schedule(("CPU:0",), 1, 2), [3, 3])


LONG_ROUND = """
import dataclasses
from tff_cnn import runtime
from experiments.benchmarks import contenders

runtime.prepare("in_process")
job = dataclasses.replace(
    contenders.JOBS["small_cnn_round"],
    num_clients=4,
    examples_per_client=500_000,
)
with contenders.ours(job, "in_process") as one_round:
    print("started", flush=True)
    one_round()
"""


def test_ctrl_c_ends_clients_in_the_middle_of_their_training():
    with processes.start("-c", LONG_ROUND) as process:
        assert process.stdout.readline() == "started\n"
        time.sleep(15)  # Compiles, and then trains for minutes.
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        try:
            # Two seconds on an idle machine; without cancelling, minutes.
            assert process.wait(timeout=30) != 0
        finally:
            process.kill()
