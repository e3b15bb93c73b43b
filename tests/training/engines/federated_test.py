import dataclasses
import functools
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn import runtime
from tff_cnn.aggregators import Mean
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms.fedavg import build_fedavg
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.data import preprocessing
from tff_cnn.models import functional
from tff_cnn.privacy.mechanism import AdaptiveClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.selection.by_size import PowerOfChoice
from tff_cnn.training import loop, narrowing
from tff_cnn.training.checkpoints import state_digest
from tff_cnn.training.engine import Measured
from tff_cnn.training.engines.federated import Federated

SGD = tff.learning.optimizers.build_sgdm
BATCHING = preprocessing.Batching(epochs=1, batch_size=4)


def engine_of(metrics):
    """Of a process that measures `metrics`; its state is the clients' sum."""

    def next_(state, data):
        return types.SimpleNamespace(state=state + sum(data), metrics=metrics)

    return Federated(
        types.SimpleNamespace(initialize=lambda: 0, next=next_),
        lambda number: np.arange(number),  # Round n has n clients.
        lambda client, number: 100 * number + client,
    )


def metrics_of(loss=1.5, aggregator=()):
    return {
        "client_work": {
            "train": {"loss": loss, "accuracy": np.float32(0.25)},
            "num_nonfinite_clients": np.int32(1),
        },
        "aggregator": aggregator,
    }


def step_of(metrics):
    engine = engine_of(metrics)
    return engine.step(engine.initialize(), engine.plan(3))


def test_a_plan_is_the_cohort_and_what_each_client_hands_over():
    work = engine_of(metrics_of()).plan(3)
    assert work.number == 3
    assert list(work.cohort) == [0, 1, 2]
    assert work.data == [300, 301, 302]


def test_the_row_is_what_the_process_reports():
    result = step_of(metrics_of())
    assert result.state == 903 and result.measured is None
    assert list(result.row.items()) == [
        ("cohort_size", 3),
        ("clients_excluded", 1),
        ("train_loss", 1.5),
        ("train_accuracy", 0.25),
    ]
    assert {type(v) for v in result.row.values()} == {int, float}


def test_a_mean_over_nobody_is_none():
    row = step_of(metrics_of(loss=float("nan"))).row
    assert row["train_loss"] is None and row["train_accuracy"] == 0.25


def test_what_a_private_aggregator_measures_is_read():
    result = step_of(
        metrics_of(
            aggregator={
                "dp_query_metrics": {"clip": np.float32(0.5)},
                "dp": {
                    "num_clients": np.float32(3),
                    "num_clipped": np.float32(2),
                    "sum_norm": np.float32(0.25),
                },
            }
        )
    )
    assert result.row["next_clip_norm"] == 0.5
    assert result.measured == Measured(3.0, 2.0, 0.25)


@pytest.mark.parametrize(
    "aggregator",
    [(), {}, np.float32(2), {"dp": ()}, {"dp_query_metrics": ()}],
)
def test_an_aggregator_may_measure_anything_or_nothing(aggregator):
    result = step_of(metrics_of(aggregator=aggregator))
    assert result.measured is None and "next_clip_norm" not in result.row


@pytest.mark.parametrize("metrics", [(), {}, {"client_work": {"train": ()}}])
def test_a_process_without_these_metrics_excludes_nobody(metrics):
    assert step_of(metrics).row == {
        "cohort_size": 3,
        "clients_excluded": 0,
        "train_loss": None,
        "train_accuracy": None,
    }


@pytest.fixture(scope="module")
def parts():
    """Of softmax regression."""
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((8, 8, 1)),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(10, kernel_initializer="zeros"),
        ]
    )
    return Parts(
        functional.from_keras(model),
        SGD(0.1),
        SGD(1.0, momentum=0.9),
        build_aggregator(Mean()),
        Weighting.UNIFORM,
        preprocessing.element_spec((8, 8, 1)),
        lambda images: preprocessing.scale(images, 16),
    )


@pytest.fixture(scope="module")
def engine(parts, digits):
    """() -> an engine of FedAvg with another aggregator, if one is given."""

    def build(aggregator=None):
        chosen = parts
        if aggregator is not None:
            chosen = dataclasses.replace(parts, aggregator=aggregator)

        def client_data(client, number):
            rows = np.arange(4) + 8 * client
            seed = np.array([client, number], np.int64)
            return BATCHING.client_data(digits.train.take(rows), seed)

        return Federated(
            build_fedavg(chosen), lambda number: [number, 5], client_data
        )

    return build


@pytest.fixture(autouse=True)
def in_process():
    with runtime.use("in_process"):
        yield


def test_an_aggregator_of_tff_that_measures_nothing_trains(engine):
    """Whose result is not even a mean."""
    trained = engine(
        tff.aggregators.as_weighted_aggregator(tff.aggregators.SumFactory())
    )
    state = trained.initialize()
    result = trained.step(state, trained.plan(1))
    assert result.measured is None
    assert result.row["train_loss"] == pytest.approx(np.log(10), abs=0.3)
    moved = trained.weights(result.state)[0] - trained.weights(state)[0]
    assert np.abs(moved).max() > 1e-3


def test_what_private_fedavg_measures(engine):
    mechanism = AdaptiveClipGaussian(
        0.5, 0.1, 2.0, Participation("poisson", 0.5)
    )
    private = engine(build_aggregator(Mean(), mechanism, (1, 2)))
    result = private.step(private.initialize(), private.plan(1))
    assert result.measured.num_clients == 2
    assert 0 <= result.measured.num_clipped <= 2
    assert 0 < result.measured.sum_norm <= 2 * 0.5
    assert 0.25 < result.row["next_clip_norm"] < 1


def test_candidates_that_are_not_chosen_take_no_part():
    """And are sent the weights all the same; each answers with its loss."""
    asked = []

    def losses(weights, cohort):
        asked.append((weights, list(cohort)))
        return np.array([1.0, np.nan, 3.0])

    narrow = functools.partial(
        narrowing.by_losses, losses, PowerOfChoice(4, 2, [1] * 4).narrowed
    )
    plain = engine_of(metrics_of())

    @dataclasses.dataclass(frozen=True)
    class OfScalar(Federated):
        def weights(self, state):
            return [np.full(5, state, np.float32)]

    engine = OfScalar(
        plain.process, plain.sample_cohort, plain.client_data, narrow
    )
    work = engine.plan(3)
    result = engine.step(7, work)
    assert result.state == 7 + 300 + 302
    assert list(result.cohort) == [0, 2] and list(work.cohort) == [0, 1, 2]
    ((weights, candidates),) = asked
    assert weights[0][0] == 7 and candidates == [0, 1, 2]
    row = result.row
    assert row["cohort_size"] == 2
    assert row["bytes_down"] == 3 * 20
    assert row["bytes_up"] == 2 * 24 + 3 * 4


def test_a_dropped_step_leaves_nothing_behind(engine):
    fedavg = engine()
    state = fedavg.initialize()
    digest = state_digest(state)
    first, second = (fedavg.step(state, fedavg.plan(1)) for _ in range(2))
    assert state_digest(state) == digest != state_digest(first.state)
    assert state_digest(first.state) == state_digest(second.state)
    assert first.row == second.row

    class Stop:
        def after_round(self, finished):
            finished.stop = True

    # Round 2 begins before the hook of round 1 has run.
    stopped = loop.run_rounds(fedavg, state, range(1, 9), [Stop()])
    assert state_digest(stopped) == state_digest(first.state)
    assert state_digest(state) == digest


def test_rows_have_what_parts_of_a_chain_count_within_one_another():
    inner = {"secure_clients": np.int64(7), "bytes_up": np.int64(90)}
    aggregator = {"clipping": (), "agg_process": {"inner": inner, "x": 1.5}}
    row = step_of(metrics_of(aggregator=aggregator)).row
    assert (row["secure_clients"], row["bytes_up"]) == (7, 90)
    assert not {"x", "clipping"} & row.keys()
    # What an outer part sends takes the place of what it encloses.
    row = step_of(metrics_of(aggregator={**aggregator, "bytes_up": 5})).row
    assert row["bytes_up"] == 5
