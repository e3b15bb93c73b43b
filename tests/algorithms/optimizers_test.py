import pytest
import tensorflow_federated as tff

from tff_cnn.algorithms import OPTIMIZERS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_is_a_tff_optimizer_with_the_given_rate(name):
    optimizer = OPTIMIZERS.get(name)(0.25)
    assert isinstance(optimizer, tff.learning.optimizers.Optimizer)
    state = optimizer.initialize(())
    assert optimizer.get_hparams(state)["learning_rate"] == 0.25
