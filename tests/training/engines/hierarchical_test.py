"""The rounds of cloud and edges, with processes whose numbers are seen through.

A model is one number; each client of an edge adds to it what it has, and weighs
as much. With TFF's processes: `tests/algorithms/hierarchical_test.py`.
"""

import collections
import dataclasses
import types

import numpy as np
import pytest

from tff_cnn.algorithms.hierarchical import CloudState, HierarchicalProcess
from tff_cnn.core.errors import UsageError
from tff_cnn.data import preprocessing
from tff_cnn.data.examples import ClientExamples, Examples
from tff_cnn.selection.edges import Edges
from tff_cnn.training.engine import Work
from tff_cnn.training.engines import hierarchical

SIZES = (1, 5, 0, 2, 4, 3)
COHORT = [0, 1, 3, 4]
EDGE_OF = np.array([0, 1, 2, 3, 0, 3])
NUM_BYTES = 4
BATCHING = preprocessing.Batching(epochs=1, batch_size=2)


def weights_of(number):
    return types.SimpleNamespace(trainable=[np.float32([number])])


def train(state, data):
    """An edge's round: w^l + the mean of its clients' sizes, by sizes."""
    sizes = [int((e["batches"] >= 0).sum()) for (e,) in data]
    (number,) = state.global_model_weights.trainable[0]
    total = sum(sizes)
    moved = sum(n * n for n in sizes) / max(1, total)
    metrics = {
        "client_work": {
            "train": {"loss": (10.0 * total, total), "accuracy": (1.0, total)},
            "num_nonfinite_clients": sum(n == 5 for n in sizes),
        },
        "aggregator": np.float32(total),
    }
    # What an aggregator keeps: how often it was called.
    found = state._replace(
        global_model_weights=weights_of(number + moved),
        aggregator=state.aggregator + 1,
    )
    return types.SimpleNamespace(state=found, metrics=metrics)


def at_cloud(state, models, weights):
    """The mean, and no server optimizer."""
    found = [number for ((number,),) in models]
    if not sum(weights):
        return state
    return CloudState(weights_of(np.average(found, weights=weights)), ())


@dataclasses.dataclass(frozen=True)
class StandIn:
    """What an engine is built of: `training.assembly.Run`'s part."""

    process: HierarchicalProcess
    batching: preprocessing.Batching = BATCHING
    narrow: object = None
    config: object = dataclasses.field(
        default_factory=lambda: types.SimpleNamespace(seed=0)
    )

    @property
    def task(self):
        labels = np.zeros(sum(SIZES), np.int32)
        images = np.zeros((len(labels), 2, 2, 1), np.uint8)
        rows = np.split(np.arange(len(labels)), np.cumsum(SIZES)[:-1])
        clients = ClientExamples(Examples(images, labels), rows)
        return types.SimpleNamespace(clients=clients)

    def sample_cohort(self, number):
        return COHORT

    def client_data(self, client, number):
        seed = np.array([number, client], np.int64)
        return self.batching.client_data(self.task.clients[client], seed)


LearningState = collections.namedtuple(
    "LearningState",
    "global_model_weights distributor client_work aggregator finalizer",
)


def engine_of(
    kappa1=None, kappa2=1, num_edges=4, narrow=None, next_of_edge=train
):
    edge = types.SimpleNamespace(
        initialize=lambda: LearningState(weights_of(0.0), (), (), 0, ()),
        next=next_of_edge,
    )
    cloud = types.SimpleNamespace(
        initialize=lambda: CloudState(weights_of(0.0), ()), next=at_cloud
    )
    edges = Edges(num_edges, "iid")
    process = HierarchicalProcess(edge, cloud, edges, kappa1, kappa2)
    built = hierarchical.build(StandIn(process, narrow=narrow), None)
    return dataclasses.replace(built, edge_of=EDGE_OF)


def step_of(engine):
    return engine.step(engine.initialize(), engine.plan(1))


def test_a_round_by_hand():
    """Edge 0 has clients 0 and 4, edge 1 client 1, and edge 3 client 3."""
    result = step_of(engine_of(kappa2=2))
    # In each of two rounds of an edge: (1 + 16) / 5, 5 and 2.
    expected = (5 * 2 * 17 / 5 + 5 * 2 * 5 + 2 * 2 * 2) / 12
    (found,) = result.state.cloud.global_model_weights.trainable[0]
    assert found == pytest.approx(expected)
    # Edge 2 had nobody; the others' aggregators go on from here.
    assert [edge[2] for edge in result.state.edges] == [2, 2, 0, 2]
    row = result.row
    assert row["cohort_size"] == 4 and result.cohort == COHORT
    assert row["train_loss"] == 10
    assert row["train_accuracy"] == pytest.approx(6 / 24)
    # Client 1, in both rounds of its edge, is one client.
    assert row["clients_excluded"] == 1


def test_what_is_trained_on_and_sent():
    row = step_of(engine_of(kappa2=3)).row
    assert row["examples"] == 3 * (1 + 5 + 2 + 4)
    assert row["bytes_down"] == 3 * 4 * NUM_BYTES
    assert row["bytes_up"] == 3 * 4 * (NUM_BYTES + 4)
    assert row["edge_bytes_down"] == 3 * NUM_BYTES
    assert row["edge_bytes_up"] == 3 * (NUM_BYTES + 4)


def test_local_steps_are_counted_where_that_is_asked_for():
    engine = engine_of(kappa1=3, kappa2=2)
    for rounds in engine.plan(1).data:
        for (element,) in rounds:
            steps = element["batches"][:, 0] != preprocessing.PADDING_STEP
            assert steps.sum() == 3
    # Batches of two, of clients with 1, 5, 2 and 4 examples.
    row = step_of(engine).row
    assert row["examples"] == 2 * (3 + 5 + 6 + 6)


def test_candidates_are_asked_through_their_edges():
    def last_two(weights, work):
        assert weights[0] == [0.0]
        return Work(work.number, work.cohort[-2:], work.data[-2:])

    engine = engine_of(kappa2=2, narrow=last_two)
    result = step_of(engine)
    assert result.cohort == [3, 4] and result.row["cohort_size"] == 2
    everybody = engine_of(kappa2=2)
    work = last_two([[0.0]], everybody.plan(1))
    alone = everybody.step(everybody.initialize(), work)
    assert result.row["train_loss"] == alone.row["train_loss"]
    assert (
        result.state.cloud.global_model_weights.trainable
        == alone.state.cloud.global_model_weights.trainable
    )
    # Four candidates of three edges; two of two edges train, twice.
    assert result.row["bytes_down"] == (4 + 2) * NUM_BYTES
    assert result.row["bytes_up"] == 2 * 2 * (NUM_BYTES + 4) + 4 * 4
    assert result.row["edge_bytes_down"] == 3 * NUM_BYTES
    assert result.row["edge_bytes_up"] == 2 * (NUM_BYTES + 4) + 4 * 4


def test_each_edge_round_has_an_order_of_its_own_and_the_same_images():
    engine = engine_of(kappa2=3)
    rounds = [engine.plan(number).data[1] for number in (1, 2)]
    orders = {tuple(e["batches"].ravel()) for data in rounds for (e,) in data}
    assert len(orders) >= 5  # Of 120.
    seeds = [e["seed"][0] for data in rounds for (e,) in data]
    assert seeds == [1, 2, 3, 4, 5, 6]
    (first,), *others = rounds[0]
    assert all(e["images"] is first["images"] for (e,) in others)


def test_each_edge_round_trains_on_data_of_its_own():
    seen = []

    def watched(state, data):
        seen.append({int(element["seed"][0]) for (element,) in data})
        return train(state, data)

    step_of(engine_of(kappa2=3, next_of_edge=watched))
    assert seen == [{1}, {2}, {3}] * 3  # Of three edges.


def test_a_step_leaves_the_state_before_as_it_was():
    engine = engine_of(kappa2=2)
    state = engine.initialize()
    engine.step(state, engine.plan(1))
    assert [edge[2] for edge in state.edges] == [0] * 4
    assert state.cloud.global_model_weights.trainable == [0.0]


def test_more_edges_than_there_are_clients_are_refused():
    with pytest.raises(UsageError, match="num_edges=7 is more than the 6"):
        engine_of(num_edges=7)
