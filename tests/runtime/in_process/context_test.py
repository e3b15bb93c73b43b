import numpy as np
import pytest
import tensorflow_federated as tff

from tff_cnn.runtime.in_process import context, execution


@tff.tensorflow.computation(np.int32, np.int32)
def add(a, b):
    return a + b


@pytest.fixture
def opened():
    with context.open_runtime(threads=2) as opened:
        tff.framework.set_default_context(opened)
        yield opened


def test_a_computation_is_compiled_once(opened, monkeypatch):
    built = []
    executable = execution.Executable.__init__

    def remember(self, plan):
        built.append(plan)
        executable(self, plan)

    monkeypatch.setattr(execution.Executable, "__init__", remember)
    assert [add(1, n) for n in range(3)] == [1, 2, 3]
    assert len(built) == 1


def test_clients_lists_must_be_of_one_length(opened):
    at_clients = tff.FederatedType(np.int32, tff.CLIENTS)

    @tff.federated_computation(at_clients, at_clients)
    def compute(x, y):
        return tff.federated_sum(tff.federated_map(add, (x, y)))

    assert compute([1, 2], [3, 4]) == 10
    with pytest.raises(ValueError, match=r"lengths: \[1, 2\]"):
        compute([1], [2, 3])


def test_secure_sums_are_sums(opened):
    @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
    def compute(x):
        return (
            tff.federated_secure_sum(x, 100),
            tff.federated_secure_sum_bitwidth(x, 8),
        )

    assert tuple(compute([1, 2, 3])) == (6, 6)


def test_tffs_secure_aggregator_trains(opened):
    process = tff.learning.secure_aggregator().create(
        tff.TensorType(np.float32, (3,)), tff.TensorType(np.float32)
    )
    values = [np.float32([0.1, 0.2, 0.3]), np.float32([0.3, 0.4, 0.5])]
    result = process.next(process.initialize(), values, [1.0, 3.0]).result
    # Quantized to 24 bits.
    np.testing.assert_allclose(result, [0.25, 0.35, 0.45], atol=1e-4)
