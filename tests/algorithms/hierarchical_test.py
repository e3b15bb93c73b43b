"""HierFAVG: NumPy's numbers, and what it is with one edge aggregation."""

import dataclasses
import functools
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.reference.hierarchical import hier_favg
from tff_cnn import runtime
from tff_cnn.aggregators import AGGREGATORS, Mean, NormBounding, Zeroing
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms import Hierarchical
from tff_cnn.algorithms.fedavg import build_fedavg
from tff_cnn.algorithms.hierarchical import build_hierarchical
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.data import preprocessing
from tff_cnn.data.examples import ClientExamples
from tff_cnn.models import functional
from tff_cnn.privacy import DpSgd, FixedClip, LocalGaussian
from tff_cnn.selection.edges import Edges
from tff_cnn.training.checkpoints import Checkpoints, state_digest
from tff_cnn.training.engine import Work
from tff_cnn.training.engines import hierarchical
from tff_cnn.training.engines.federated import Federated

SGD = tff.learning.optimizers.build_sgdm
PLAIN, MOMENTUM = SGD(1.0), SGD(0.7, momentum=0.9)
SIZES = (3, 7, 4, 5, 2, 6)
BATCHING = preprocessing.Batching(epochs=2, batch_size=3, shuffle=False)
COHORTS = ([0, 1, 3, 5], [1, 2, 4], [0, 5])
NUM_BYTES = 650 * 4


@dataclasses.dataclass(frozen=True)
class StandIn:
    """What an engine is built of: `training.assembly.Run`'s part."""

    process: object
    task: object
    batching: preprocessing.Batching = BATCHING
    config: object = dataclasses.field(
        default_factory=lambda: types.SimpleNamespace(seed=0)
    )

    narrow: None = None

    def sample_cohort(self, number):
        return COHORTS[number - 1]

    def client_data(self, client, number):
        seed = np.array([number, client], np.int64)
        return self.batching.client_data(self.task.clients[client], seed)


@pytest.fixture(scope="module")
def task(digits):
    stops = np.cumsum(SIZES)
    rows = [
        np.arange(stop - size, stop)
        for size, stop in zip(SIZES, stops, strict=True)
    ]
    return types.SimpleNamespace(clients=ClientExamples(digits.train, rows))


@functools.cache
def parts(weighting=Weighting.EXAMPLES, server_optimizer=PLAIN) -> Parts:
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((8, 8, 1)),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(
                10, kernel_initializer=tf.keras.initializers.GlorotUniform(3)
            ),
        ]
    )
    return Parts(
        functional.from_keras(model),
        SGD(0.1),
        server_optimizer,
        build_aggregator(Mean()),
        weighting,
        preprocessing.element_spec((8, 8, 1)),
        lambda images: preprocessing.scale(images, 16),
        num_clients=len(SIZES),
    )


@functools.cache
def built(weighting, server_optimizer, *aggregator):
    found = parts(weighting, server_optimizer)
    if aggregator:
        chain = AGGREGATORS.chained(aggregator)
        found = dataclasses.replace(found, aggregator=build_aggregator(chain))
    return build_hierarchical(found, 1, None, 1, "iid"), build_fedavg(found)


@pytest.fixture(autouse=True, scope="module")
def in_process():
    with runtime.use("in_process", clients_per_step=4):
        yield


def engine_of(
    task,
    num_edges=3,
    weighting=Weighting.EXAMPLES,
    server_optimizer=PLAIN,
    aggregator=(),
    **options,
):
    """Of a process that is built, and compiled, only once."""
    process, _ = built(weighting, server_optimizer, *aggregator)
    process = dataclasses.replace(
        process, edges=Edges(num_edges, "iid"), **options
    )
    return hierarchical.build(StandIn(process, task), None)


def fedavg_of(task, server_optimizer=PLAIN, *aggregator):
    _, process = built(Weighting.EXAMPLES, server_optimizer, *aggregator)
    run = StandIn(process, task)
    return Federated(process, run.sample_cohort, run.client_data)


def after(engine, rounds=3):
    """(State, last row) after some rounds."""
    state = engine.initialize()
    for number in range(1, rounds + 1):
        result = engine.step(state, engine.plan(number))
        state = result.state
    return state, result.row


def assert_close(found, expected, atol):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


@pytest.mark.parametrize("weighting", Weighting)
def test_equals_the_numpy_reference(task, weighting):
    engine = engine_of(task, 2, weighting, kappa1=4, kappa2=3)
    state, row = after(engine)

    def batch_of(client, k):
        """Each client's batches again from the first at each aggregation."""
        examples = task.clients[client]
        starts = range(0, len(examples), 3)
        start = starts[(k - 1) % 4 % len(starts)]
        batch = slice(start, start + 3)
        return examples.images[batch] / 16.0, examples.labels[batch]

    sizes = [sum(len(batch_of(i, k)[1]) for k in range(1, 5)) for i in range(6)]
    if weighting is Weighting.UNIFORM:
        sizes = [1] * 6
    expected = hier_favg(
        parts().model.initial_weights[0],
        [np.flatnonzero(engine.edge_of == edge) for edge in (0, 1)],
        sizes,
        batch_of,
        kappa1=4,
        kappa2=3,
        num_steps=3 * 12,
        rate=0.1,
        cohort_of=lambda number: COHORTS[number - 1],
    )
    assert_close(engine.weights(state), expected, 1e-5)
    assert runtime.current().schedule.last_size > 1
    assert row["cohort_size"] == 2


@pytest.mark.parametrize("num_edges", [1, 3, 6])
def test_one_edge_aggregation_a_round_is_fedavg(task, num_edges):
    """With a server optimizer, and edges of which nobody takes part."""
    engine = engine_of(task, num_edges, server_optimizer=MOMENTUM)
    taking_part = {*engine.edge_of[[0, 5]]}
    assert len(taking_part) < num_edges or num_edges == 1
    fedavg = fedavg_of(task, MOMENTUM)
    (state, row), (plain, plain_row) = after(engine), after(fedavg)
    assert_close(engine.weights(state), fedavg.weights(plain), 1e-6)
    for name in ("train_loss", "train_accuracy"):
        assert row[name] == pytest.approx(plain_row[name], rel=1e-6)
    assert row["clients_excluded"] == plain_row["clients_excluded"] == 0
    # To as many clients as in FedAvg, and once to each edge.
    assert row["bytes_down"] == 2 * NUM_BYTES
    assert row["bytes_up"] == 2 * (NUM_BYTES + 4)
    assert row["edge_bytes_down"] == len(taking_part) * NUM_BYTES
    assert row["edge_bytes_up"] == len(taking_part) * (NUM_BYTES + 4)


@pytest.mark.parametrize(
    "bounds",
    [
        (Zeroing(zeroing_norm=0.1),),
        (NormBounding(bound_norm=0.3), Zeroing(zeroing_norm=0.065)),
    ],
)
def test_who_is_left_out_at_an_edge_has_no_weight_at_the_cloud(task, bounds):
    """Zeroing takes a client's weight too."""
    engine = engine_of(task, 3, aggregator=bounds)
    fedavg = fedavg_of(task, PLAIN, *bounds)
    (state, _), (plain, _) = after(engine, 1), after(fedavg, 1)
    assert_close(engine.weights(state), fedavg.weights(plain), 1e-6)
    # Some are left out, and not all.
    everybody = fedavg_of(task, PLAIN, *bounds[:-1])
    other, _ = after(everybody, 1)
    moved = [
        np.abs(fedavg.weights(plain)[0] - weights[0]).max()
        for weights in (fedavg.weights(other), parts().model.initial_weights[0])
    ]
    assert min(moved) > 1e-3


def test_a_round_without_clients_is_fedavg_s_too(task):
    """The server's momentum goes on."""
    found = []
    for engine in (
        engine_of(task, server_optimizer=MOMENTUM),
        fedavg_of(task, MOMENTUM),
    ):
        state, _ = after(engine, 1)
        result = engine.step(state, Work(2, [], []))
        found.append(engine.weights(result.state))
        before = engine.weights(state)
        assert np.abs(found[-1][0] - before[0]).max() > 1e-4
        assert result.row["train_loss"] is None
    assert_close(*found, 1e-6)


def test_one_edge_of_all_clients_is_kappa2_rounds_of_fedavg(task):
    engine = engine_of(task, 1, kappa2=3)
    state, row = after(engine, 1)
    fedavg = fedavg_of(task)
    plain, losses = fedavg.initialize(), []
    for number in (1, 2, 3):
        data = [fedavg.client_data(client, number) for client in COHORTS[0]]
        result = fedavg.step(plain, Work(number, COHORTS[0], data))
        plain = result.state
        losses.append(result.row["train_loss"])
    assert_close(engine.weights(state), fedavg.weights(plain), 1e-6)
    assert row["train_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_its_state_survives_a_checkpoint(task, tmp_path):
    engine = engine_of(task, server_optimizer=MOMENTUM, kappa2=2)
    state, _ = after(engine, 2)
    Checkpoints(tmp_path, "print", last_round=3).save(2, state)
    _, loaded, refused = Checkpoints(
        tmp_path, "print", last_round=3
    ).load_latest(engine.initialize())
    assert not refused
    found = [
        state_digest(engine.step(s, engine.plan(3)).state)
        for s in (state, loaded)
    ]
    assert found[0] == found[1] != state_digest(state)


@pytest.mark.parametrize(
    ("options", "others", "message"),
    [
        (
            {"num_edges": 11},
            {"num_clients": 10},
            "algorithm.num_edges=11 is more than num_clients=10: use fewer",
        ),
        (
            {"kappa1": 3},
            {"client_epochs": 2},
            "client_epochs=2 would be ignored: algorithm.kappa1=3 says",
        ),
        ({"kappa2": 0}, {}, "algorithm.kappa2=0 must be at least 1"),
        ({"edges": "random"}, {}, "valid are iid, niid"),
        (
            {},
            {"dp": FixedClip(noise_multiplier=1.0)},
            "dp=fixed_clip does not go with algorithm=hierarchical: the cloud "
            "takes the mean of edges",
        ),
        (
            {},
            {"local_randomizer": LocalGaussian(noise_multiplier=1.0)},
            "clients send an update in each round of their edge",
        ),
        (
            {},
            {"example_dp": DpSgd(noise_multiplier=1.0)},
            "clients take local steps in each round of their edge",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(options, others, message):
    with pytest.raises(UsageError) as error:
        RunConfig(algorithm=Hierarchical(**options), **others).resolved()
    assert message in str(error.value)
