import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.algorithms import toy
from tests.algorithms.toy import at_once
from tests.reference import fedavg
from tests.reference import optimizers as reference
from tff_cnn import identity
from tff_cnn.algorithms import OPTIMIZERS, Adagrad, Adam, FedAvg, Sgd, Yogi
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError

__all__ = ["at_once"]  # A fixture.
# Options -> what the reference is given besides the learning rate.
CASES = {
    Sgd(0.3): {},
    Sgd(0.3, 0.9): {"momentum": 0.9},
    Sgd(0.3, 0.9, nesterov=True): {"momentum": 0.9, "nesterov": True},
    Adam(0.03): {},
    Adam(0.03, beta1=0.5, beta2=0.8, epsilon=0.1): {
        "beta1": 0.5,
        "beta2": 0.8,
        "tau": 0.1,
    },
    Adagrad(0.03): {},
    Adagrad(0.03, epsilon=0.01, initial_accumulator=0.2): {
        "tau": 0.01,
        "v0": 0.2,
    },
    Yogi(0.03): {},
    Yogi(0.03, 0.8, 0.9, epsilon=0.01, initial_accumulator=1e-3): {
        "beta1": 0.8,
        "beta2": 0.9,
        "tau": 0.01,
        "v0": 1e-3,
    },
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_is_a_tff_optimizer_with_the_given_rate(name):
    optimizer = OPTIMIZERS.get(name)(0.25)
    assert isinstance(optimizer, tff.learning.optimizers.Optimizer)
    state = optimizer.initialize(())
    assert optimizer.get_hparams(state)["learning_rate"] == 0.25


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_options_that_are_left_open_are_tffs_own(name):
    own = {"sgd": "sgdm"}.get(name, name)
    theirs = getattr(tff.learning.optimizers, f"build_{own}")(0.25)
    options = dataclasses.replace(
        OPTIMIZERS.find(name).options(), learning_rate=0.25
    )
    ours = OPTIMIZERS.build(options)
    states = [o.initialize(np.zeros(2, np.float32)) for o in (ours, theirs)]
    assert states[0].keys() == states[1].keys()
    for key in states[0]:
        np.testing.assert_array_equal(states[0][key], states[1][key])


def names(options):
    changed = {
        f.name: getattr(options, f.name)
        for f in dataclasses.fields(options)
        if f.name != "learning_rate" and getattr(options, f.name)
    }
    given = "-".join(f"{name}={value}" for name, value in changed.items())
    return f"{OPTIMIZERS.entry_of(options).name}-{given}"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("options", CASES, ids=names)
def test_at_the_server_it_equals_numpy_over_three_rounds(options):
    engine = toy.engine(FedAvg(), server_optimizer=OPTIMIZERS.build(options))
    found = engine.weights(toy.after(engine))
    weights = toy.initial_weights()
    make = getattr(reference, OPTIMIZERS.entry_of(options).name)
    servers = [
        make(w, options.learning_rate, **CASES[options]) for w in weights
    ]
    for server in servers:
        next(server)
    for cohort in toy.COHORTS:
        trained = [
            fedavg.client_update(weights, x, y, 2, 3, toy.RATE)
            for x, y in toy.in_numpy(cohort)
        ]
        shares = [toy.SIZES[client] for client in cohort]
        delta = [
            np.average([t - w for t in each], axis=0, weights=shares)
            for w, each in zip(weights, zip(*trained, strict=True), strict=True)
        ]
        weights = [s.send(d) for s, d in zip(servers, delta, strict=True)]
    toy.assert_close(found, weights)
    start = toy.initial_weights()
    assert np.abs(found[0] - start[0]).max() > 1e-2


def test_hyperparameters_of_nesterov_s_momentum_can_be_set():
    optimizer = OPTIMIZERS.build(Sgd(0.5, 0.9, nesterov=True))
    state = optimizer.initialize(np.zeros(1, np.float32))
    changed = optimizer.set_hparams(state, {"learning_rate": 0.25})
    assert optimizer.get_hparams(changed) == {
        "learning_rate": 0.25,
        "momentum": 0.9,
    }
    _, weights = optimizer.next(changed, tf.zeros(1), tf.ones(1))
    assert weights.numpy() == pytest.approx(-0.25 * 1.9)


@pytest.mark.parametrize("role", ["client_optimizer", "server_optimizer"])
def test_a_kind_of_momentum_needs_momentum(role):
    config = RunConfig(**{role: Sgd(0.1, nesterov=True)})
    with pytest.raises(UsageError, match=f"<?{role}.nesterov.* needs mom"):
        config.resolved()


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Adam, "beta1", 0.0),
        (Adam, "beta2", 1.0),
        (Adam, "epsilon", 0.0),
        (Adagrad, "initial_accumulator", 0.0),
        (Yogi, "beta1", -0.1),
    ],
)
def test_values_out_of_range(kind, name, value):
    with pytest.raises(UsageError, match=f"server_optimizer.{name}"):
        RunConfig(server_optimizer=kind(**{name: value}))


def test_what_is_left_open_changes_no_run():
    """Adam had none of these options once."""
    config = RunConfig(server_optimizer=Adam(0.1)).resolved()
    known = {k for k in identity.material(config) if k.startswith("server")}
    assert known == {"server_optimizer", "server_learning_rate"}
    other = RunConfig(server_optimizer=Adam(0.1, epsilon=1e-3)).resolved()
    assert identity.fingerprint(other) != identity.fingerprint(config)


def test_an_epsilon_of_an_optimizer_is_no_budget():
    """A run may go on for more rounds."""
    config = RunConfig(server_optimizer=Adam(0.1, epsilon=1e-3)).resolved()
    assert "rounds" not in identity.material(config)
