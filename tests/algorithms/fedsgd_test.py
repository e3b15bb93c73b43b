import numpy as np
import pytest
import tensorflow_federated as tff

from tests.algorithms import toy
from tests.algorithms.toy import at_once
from tests.reference import fedsgd as reference
from tests.reference.fedavg import softmax_gradient
from tff_cnn.algorithms import FedSgd, schedules
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.data.preprocessing import Batching
from tff_cnn.privacy import DpSgd

__all__ = ["at_once"]  # A fixture.
ONCE = {size: Batching(1, size, shuffle=False) for size in (2, 3, 100)}


def after(engine, cohorts, batch_size):
    batching = ONCE[batch_size]
    return engine.weights(
        toy.after(engine, cohorts, lambda c, _: toy.element(c, batching))
    )


@pytest.mark.usefixtures("at_once")
def test_equals_numpy_however_many_are_read_at_a_time():
    engine = toy.engine(FedSgd())
    weights = toy.initial_weights()
    for cohort in toy.COHORTS:
        weights = reference.server_round(
            weights, toy.in_numpy(cohort), toy.RATE
        )
    for batch_size in (2, 100):
        toy.assert_close(
            after(engine, toy.COHORTS, batch_size), weights, atol=1e-6
        )


@pytest.mark.usefixtures("at_once")
def test_of_all_clients_it_is_gradient_descent_on_the_union():
    engine = toy.engine(FedSgd())
    found = after(engine, [range(4)] * 3, 3)
    images, labels = map(
        np.concatenate, zip(*toy.in_numpy(range(4)), strict=True)
    )
    weights = toy.initial_weights()
    for _ in range(3):
        gradient = softmax_gradient(weights, images, labels)
        weights = [
            w - toy.RATE * g for w, g in zip(weights, gradient, strict=True)
        ]
    toy.assert_close(found, weights, atol=1e-6)


@pytest.mark.usefixtures("at_once")
def test_its_one_step_is_of_the_client_s_optimizer_at_the_round_s_rate():
    """Adam's first step is the sign of the gradient."""
    engine = toy.engine(
        FedSgd(),
        client_optimizer=tff.learning.optimizers.build_adam(0.1),
        element_spec={
            **toy.element_spec(),
            schedules.FIELD: schedules.FACTOR_SPEC,
        },
    )

    def element(client, number):
        found = toy.element(client, ONCE[3])
        return {**found, schedules.FIELD: np.float32(0.5)}

    found = engine.weights(toy.after(engine, [[1, 3]], element))
    _, biases = (np.abs(w) for w in found)  # They begin with zeros.
    assert biases.max() == pytest.approx(0.05, rel=1e-3)


def test_what_it_cannot_be_used_with():
    with pytest.raises(UsageError, match="client_epochs=2 does not go with"):
        RunConfig(algorithm=FedSgd(), client_epochs=2).resolved()
    private = RunConfig(
        algorithm=FedSgd(), example_dp=DpSgd(noise_multiplier=1.0)
    )
    with pytest.raises(UsageError, match="algorithm=fedsgd does not fit"):
        private.resolved()


def test_a_run_goes_on(tmp_path, monkeypatch):
    config = toy.config(algorithm=FedSgd())
    rows = toy.rows_of_an_interrupted_run(config, tmp_path, monkeypatch)
    assert [row["examples"] for row in rows] == [45] * 4
